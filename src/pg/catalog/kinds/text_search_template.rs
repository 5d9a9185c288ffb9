//! Text search templates; and what templates, parsers and dictionaries read alike.

use tokio_postgres::Row;

use super::names::{name_of, read_name};
use crate::base::Result;
use crate::base::sql::qualified;
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_schema};
use crate::pg::catalog::row::RowExt;

/// Text search templates.
pub(super) const KIND: Kind = Kind { name: "text_search_template", scope: Scope::Object, query, read };

const FUNCTIONS: &[(&str, &str)] = &[("tmplinit", "INIT"), ("tmpllexize", "LEXIZE")];

fn query(_: &Context) -> Option<String> {
    Some(select("pg_ts_template", "tmpl", class::PG_TS_TEMPLATE, &functions(FUNCTIONS)))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| with_functions(&KIND, "TEMPLATE", class::PG_TS_TEMPLATE, FUNCTIONS, row)).collect()
}

/// Select list of the names of functions, each under its column's name.
pub(super) fn functions(columns: &[(&str, &str)]) -> String {
    let one = |column: &str| format!("{} AS {column}", name_of("pg_proc", "pro", &format!("t.{column}")));
    columns.iter().map(|(column, _)| one(column)).collect::<Vec<_>>().join(", ")
}

/// The query of a catalog `t` whose columns begin with `prefix` and whose objects have no owner.
pub(super) fn select(catalog: &str, prefix: &str, class: u32, extra: &str) -> String {
    select_from(catalog, prefix, extra, &MetaSource::plain(class, "t.oid"))
}

/// As [`select`], for objects with an owner.
pub(super) fn select_from(catalog: &str, prefix: &str, extra: &str, meta: &MetaSource<'_>) -> String {
    format!(
        "SELECT t.oid, n.nspname::text AS schema, t.{prefix}name::text AS name, {extra}, {}
           FROM {catalog} t JOIN pg_namespace n ON n.oid = t.{prefix}namespace
          WHERE {} AND {} ORDER BY n.nspname, t.{prefix}name",
        columns(meta),
        user_schema("n.nspname"),
        not_member(meta.class, "t.oid")
    )
}

/// The draft of an object that is made of functions alone.
pub(super) fn with_functions(kind: &Kind, word: &str, class: u32, functions: &[(&str, &str)], row: &Row) -> Result<Draft> {
    let mut parts = Vec::new();
    for (column, option) in functions {
        parts.extend(read_name(row, column)?.map(|f| format!("{option} = {f}")));
    }
    draft(kind, word, class, row, &parts.join(", "))
}

/// `CREATE TEXT SEARCH word "schema"."name" (definition)`.
pub(super) fn draft(kind: &Kind, word: &str, class: u32, row: &Row, definition: &str) -> Result<Draft> {
    let (schema, name) = (row.text("schema")?, row.text("name")?);
    let identity = qualified(&schema, &name);
    let noun = format!("TEXT SEARCH {word} {identity}");
    let mut entry = Entry::new(kind.name, kind.scope, Phase::Pre, Some(&schema), &name, &identity);
    entry.create.push(format!("CREATE {noun} ({definition})").into());
    entry.drop = Some(format!("DROP TEXT SEARCH {word} IF EXISTS {identity}").into());
    apply_meta(&mut entry, row, noun, None)?;
    Ok(Draft::new(Address::new(class, row.oid("oid")?), entry))
}
