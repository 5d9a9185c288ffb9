//! Foreign-data wrappers that no extension brings; and the OPTIONS clause of everything foreign.

use tokio_postgres::Row;

use super::names::{name_of, read_name};
use crate::base::Result;
use crate::base::sql::{ident, literal};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member};
use crate::pg::catalog::row::RowExt;

/// Foreign-data wrappers.
pub(super) const KIND: Kind = Kind { name: "foreign_data_wrapper", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT w.oid, w.fdwname::text AS name, {} AS handler, {} AS validator, coalesce(w.fdwoptions, '{{}}') AS options, {}
           FROM pg_foreign_data_wrapper w WHERE {} ORDER BY w.fdwname",
        name_of("pg_proc", "pro", "w.fdwhandler"),
        name_of("pg_proc", "pro", "w.fdwvalidator"),
        columns(&MetaSource::new(class::PG_FOREIGN_DATA_WRAPPER, "w.oid", "w.fdwowner", "w.fdwacl")),
        not_member(class::PG_FOREIGN_DATA_WRAPPER, "w.oid")
    ))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let name = row.text("name")?;
            let noun = format!("FOREIGN DATA WRAPPER {}", ident(&name));
            let mut create = format!("CREATE {noun}");
            for (column, word) in [("handler", "HANDLER"), ("validator", "VALIDATOR")] {
                create.push_str(&read_name(row, column)?.map_or_else(|| format!(" NO {word}"), |f| format!(" {word} {f}")));
            }
            create.push_str(&options(row, "options")?);
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &name, &ident(&name));
            entry.create.push(create.into());
            entry.drop = Some(format!("DROP FOREIGN DATA WRAPPER IF EXISTS {}", ident(&name)).into());
            let acl = AclObject::new(AclType::ForeignDataWrapper, noun.as_str(), cx.version);
            apply_meta(&mut entry, row, noun, Some(&acl))?;
            Ok(Draft::new(Address::new(class::PG_FOREIGN_DATA_WRAPPER, row.oid("oid")?), entry))
        })
        .collect()
}

/// ` OPTIONS (…)` of a column of `name=value` elements, empty where there are none.
pub(super) fn options(row: &Row, column: &str) -> Result<String> {
    Ok(options_clause(&row.col::<Vec<String>>(column)?))
}

/// ` OPTIONS (…)` of `name=value` elements.
pub(super) fn options_clause(options: &[String]) -> String {
    let one = |option: &String| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        format!("{} {}", ident(name), literal(value).trim_start())
    };
    let all: Vec<String> = options.iter().map(one).collect();
    if all.is_empty() { String::new() } else { format!(" OPTIONS ({})", all.join(", ")) }
}
