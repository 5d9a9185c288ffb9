//! Domains: base type, collation, default, NOT NULL. Check constraints are [`domain_constraint`](super::domain_constraint)s, because their
//! functions may take the domain.

use tokio_postgres::Row;

use super::names::{name_where, read_name};
use super::types;
use crate::base::Result;
use crate::base::sql::{Sql, ident, literal, qualified};
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::add_comment;
use crate::pg::catalog::row::RowExt;

/// Domains.
pub(super) const KIND: Kind = Kind { name: "domain", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    let collation = name_where(
        "pg_collation",
        "coll",
        "t.typcollation",
        "x.oid <> (SELECT bt.typcollation FROM pg_type bt WHERE bt.oid = t.typbasetype)",
    );
    let extra = format!(
        "format_type(t.typbasetype, t.typtypmod) AS base, t.typnotnull AS not_null, {collation} AS collation_name,
        pg_get_expr(t.typdefaultbin, 0) AS default_expression, t.typdefault AS default_text,
        nn.oid AS not_null_oid, nn.conname::text AS not_null_name,
        (SELECT d.description FROM pg_description d
          WHERE d.classoid = 'pg_constraint'::regclass AND d.objoid = nn.oid AND d.objsubid = 0) AS not_null_comment"
    );
    let joins = "LEFT JOIN pg_constraint nn ON nn.contypid = t.oid AND nn.contype = 'n'";
    Some(types::query(&extra, joins, "t.typtype = 'd'"))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, cx)).collect()
}

fn draft(row: &Row, cx: &Context) -> Result<Draft> {
    let mut definition = format!(" AS {}", row.text("base")?);
    if let Some(collation) = read_name(row, "collation_name")? {
        definition.push_str(&format!(" COLLATE {collation}"));
    }
    let constraint = row.opt_text("not_null_name")?;
    if row.flag("not_null")? {
        let name = constraint.as_ref().map(|n| format!(" CONSTRAINT {}", ident(n))).unwrap_or_default();
        definition.push_str(&format!("{name} NOT NULL"));
    }
    match (row.opt_text("default_expression")?, row.opt_text("default_text")?) {
        (Some(expression), _) => definition.push_str(&format!(" DEFAULT {expression}")),
        (None, Some(text)) => definition.push_str(&format!(" DEFAULT {}", literal(&text))),
        (None, None) => {}
    }
    let mut draft = types::draft(&KIND, "DOMAIN", row, cx, &definition)?;
    if let Some(name) = constraint {
        let noun = format!("CONSTRAINT {} ON DOMAIN {}", ident(&name), qualified(&row.text("schema")?, &row.text("name")?));
        add_comment(&mut draft.entry, &Sql::from(noun), row.opt_text("not_null_comment")?.as_deref());
        draft.also.push(Address::new(class::PG_CONSTRAINT, row.oid("not_null_oid")?));
    }
    Ok(draft)
}
