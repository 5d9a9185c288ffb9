//! Base types: made as a shell, which their input and output functions need, and completed when these exist.

use tokio_postgres::Row;

use super::names::{name_of, read_name};
use super::types;
use crate::base::sql::literal;
use crate::base::{Error, Result};
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Context, Draft, Kind};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Base types.
pub(super) const KIND: Kind = Kind { name: "base_type", scope: Scope::Object, query, read };

const FUNCTIONS: &[(&str, &str)] = &[
    ("typinput", "INPUT"),
    ("typoutput", "OUTPUT"),
    ("typreceive", "RECEIVE"),
    ("typsend", "SEND"),
    ("typmodin", "TYPMOD_IN"),
    ("typmodout", "TYPMOD_OUT"),
    ("typanalyze", "ANALYZE"),
    ("typsubscript", "SUBSCRIPT"),
];

fn query(cx: &Context) -> Option<String> {
    let functions: Vec<String> = FUNCTIONS
        .iter()
        .map(|(column, _)| match *column {
            "typsubscript" if !cx.version.has(Feature::SubscriptTypes) => "NULL::text[] AS typsubscript".to_owned(),
            column => format!("{} AS {column}", name_of("pg_proc", "pro", &format!("t.{column}"))),
        })
        .collect();
    let extra = format!(
        "{}, t.typlen, t.typbyval, t.typcategory::text AS category, t.typispreferred, t.typdelim::text AS delimiter,
         t.typalign::text AS alignment, t.typstorage::text AS storage, t.typcollation <> 0 AS collatable,
         format_type(nullif(t.typelem, 0), NULL) AS element, pg_get_expr(t.typdefaultbin, 0) AS default_expression,
         t.typdefault AS default_text",
        functions.join(", ")
    );
    let arrays = "EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)";
    Some(types::query(&extra, "", &format!("t.typtype = 'b' AND NOT {arrays}")))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let definition = format!(" ({})", options(row)?.join(", "));
            types::with_shell(types::draft(&KIND, "TYPE", row, cx, &definition)?, row)
        })
        .collect()
}

fn options(row: &Row) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for (column, option) in FUNCTIONS {
        out.extend(read_name(row, column)?.map(|f| format!("{option} = {f}")));
    }
    let length: i16 = row.col("typlen")?;
    out.push(if length < 0 { "INTERNALLENGTH = VARIABLE".to_owned() } else { format!("INTERNALLENGTH = {length}") });
    if row.flag("typbyval")? {
        out.push("PASSEDBYVALUE".to_owned());
    }
    out.push(format!("ALIGNMENT = {}", word(row, "alignment", &[("c", "char"), ("s", "int2"), ("i", "int4"), ("d", "double")])?));
    let storages = [("p", "plain"), ("e", "external"), ("x", "extended"), ("m", "main")];
    out.push(format!("STORAGE = {}", word(row, "storage", &storages)?));
    out.push(format!("CATEGORY = {}", literal(&row.text("category")?)));
    if row.flag("typispreferred")? {
        out.push("PREFERRED = true".to_owned());
    }
    match (row.opt_text("default_expression")?, row.opt_text("default_text")?) {
        (Some(expression), _) => out.push(format!("DEFAULT = {expression}")),
        (None, Some(text)) => out.push(format!("DEFAULT = {}", literal(&text))),
        (None, None) => {}
    }
    out.extend(row.opt_text("element")?.filter(|e| e != "-").map(|e| format!("ELEMENT = {e}")));
    out.push(format!("DELIMITER = {}", literal(&row.text("delimiter")?)));
    if row.flag("collatable")? {
        out.push("COLLATABLE = true".to_owned());
    }
    Ok(out)
}

fn word(row: &Row, column: &str, words: &[(&str, &'static str)]) -> Result<&'static str> {
    let letter = row.text(column)?;
    words.iter().find(|(l, _)| *l == letter).map(|(_, word)| *word).ok_or_else(|| {
        let name = row.text("name").unwrap_or_default();
        Error::unsupported(format!("type {name} has the {column} {letter:?}, which this version does not know"))
    })
}
