//! Operators. A commutator or negator that does not exist yet is made as a shell by the server and filled in by its own entry.

use tokio_postgres::Row;

use super::names::{name_of, read_name, read_operator};
use crate::base::Result;
use crate::base::sql::ident;
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_schema};
use crate::pg::catalog::row::RowExt;

/// Operators.
pub(super) const KIND: Kind = Kind { name: "operator", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT o.oid, n.nspname::text AS schema, o.oprname::text AS name, {} AS function,
                format_type(nullif(o.oprleft, 0), NULL) AS left_type, format_type(nullif(o.oprright, 0), NULL) AS right_type,
                {} AS commutator, {} AS negator, {} AS restrict_function, {} AS join_function, o.oprcanmerge, o.oprcanhash, {}
           FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
          WHERE o.oprcode <> 0::regproc AND {} AND {} ORDER BY n.nspname, o.oprname, 5, 6",
        name_of("pg_proc", "pro", "o.oprcode"),
        name_of("pg_operator", "opr", "o.oprcom"),
        name_of("pg_operator", "opr", "o.oprnegate"),
        name_of("pg_proc", "pro", "o.oprrest"),
        name_of("pg_proc", "pro", "o.oprjoin"),
        columns(&MetaSource::owned(class::PG_OPERATOR, "o.oid", "o.oprowner")),
        user_schema("n.nspname"),
        not_member(class::PG_OPERATOR, "o.oid")
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let (schema, name) = (row.text("schema")?, row.text("name")?);
    let (left, right) = (row.opt_text("left_type")?, row.opt_text("right_type")?);
    let full = format!("{}.{name}", ident(&schema));
    let side = |t: &Option<String>| t.clone().unwrap_or_else(|| "NONE".to_owned());
    let identity = format!("{full} ({}, {})", side(&left), side(&right));
    let mut parts: Vec<String> = read_name(row, "function")?.map(|f| format!("FUNCTION = {f}")).into_iter().collect();
    parts.extend(left.map(|t| format!("LEFTARG = {t}")));
    parts.extend(right.map(|t| format!("RIGHTARG = {t}")));
    parts.extend(read_operator(row, "commutator")?.map(|o| format!("COMMUTATOR = {o}")));
    parts.extend(read_operator(row, "negator")?.map(|o| format!("NEGATOR = {o}")));
    parts.extend(read_name(row, "restrict_function")?.map(|f| format!("RESTRICT = {f}")));
    parts.extend(read_name(row, "join_function")?.map(|f| format!("JOIN = {f}")));
    for (column, word) in [("oprcanmerge", "MERGES"), ("oprcanhash", "HASHES")] {
        if row.flag(column)? {
            parts.push(word.to_owned());
        }
    }
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, Some(&schema), &name, &identity);
    entry.create.push(format!("CREATE OPERATOR {full} ({})", parts.join(", ")).into());
    entry.drop = Some(format!("DROP OPERATOR IF EXISTS {identity}").into());
    apply_meta(&mut entry, row, format!("OPERATOR {identity}"), None)?;
    Ok(Draft::new(Address::new(class::PG_OPERATOR, row.oid("oid")?), entry))
}
