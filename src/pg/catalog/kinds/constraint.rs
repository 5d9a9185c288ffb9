//! Primary-key, unique and exclusion constraints, with their indexes.
//!
//! Catalogs: `pg_constraint` (`p`, `u`, `x`), `pg_index`. What else the index carries (clustering, replica identity, comment, tablespace,
//! storage parameters) belongs to the entry.

use tokio_postgres::Row;

use super::index::{INDEX_COLUMNS, add_index_properties};
use super::relation::{
    COLUMNS, Piece, add_depends_on, depends_on, in_tablespace, join_relation, storage_parameters, user_relation, with_clause,
};
use crate::base::Result;
use crate::base::sql::{Sql, ident, qualified};
use crate::pg::catalog::entry::{Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, add_comment, apply_meta};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Constraints that an index enforces.
pub(super) const KIND: Kind = Kind { name: "constraint", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    let nulls = if cx.version.has(Feature::NullsNotDistinct) { "x.indnullsnotdistinct" } else { "false" };
    let period = if cx.version.has(Feature::TemporalKeys) { "k.conperiod" } else { "false" };
    Some(format!(
        "SELECT {COLUMNS}, {INDEX_COLUMNS}, k.oid AS constraint_oid, k.conname::text AS name, k.contype::text AS constraint_type,
                k.condeferrable AS deferrable, k.condeferred AS deferred, {nulls} AS nulls_not_distinct, {period} AS period,
                CASE WHEN k.contype = 'x' THEN pg_get_constraintdef(k.oid) END AS definition,
                x.indnkeyatts::int4 AS key_count,
                (SELECT d.description FROM pg_description d
                  WHERE d.classoid = 'pg_class'::regclass AND d.objoid = ic.oid AND d.objsubid = 0) AS index_comment,
                ARRAY(SELECT a.attname::text FROM unnest(x.indkey::int2[]) WITH ORDINALITY u (attnum, ord)
                        JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = u.attnum ORDER BY u.ord) AS columns,
                {}, {}
           FROM pg_constraint k {} JOIN pg_index x ON x.indexrelid = k.conindid JOIN pg_class ic ON ic.oid = k.conindid
           LEFT JOIN pg_tablespace ts ON ts.oid = ic.reltablespace
          WHERE k.contype IN ('p', 'u', 'x') AND x.indrelid = k.conrelid AND {}
          ORDER BY n.nspname, c.relname, k.conname",
        depends_on(class::PG_CLASS, "ic.oid"),
        meta::columns(&MetaSource::plain(class::PG_CONSTRAINT, "k.oid")),
        join_relation("k.conrelid"),
        user_relation()
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let Piece { relation, quoted: constraint, table, mut entry, .. } = Piece::read(row, "constraint", Phase::Post)?;
    let definition = match row.opt_text("definition")? {
        Some(definition) => definition,
        None => definition(row)?,
    };
    let add = Sql::from(format!("ALTER TABLE ONLY {table} ADD CONSTRAINT {constraint} {definition}"));
    entry.create = in_tablespace(row.opt_text("tablespace")?.as_deref(), vec![add]);
    add_index_properties(&mut entry, row, &relation)?;
    let index = qualified(&relation.schema, &row.text("index_name")?);
    add_depends_on(&mut entry, row, &format!("INDEX {index}"))?;
    entry.drop = Some(Sql::from(format!("ALTER TABLE IF EXISTS ONLY {table} DROP CONSTRAINT IF EXISTS {constraint}")));
    apply_meta(&mut entry, row, format!("CONSTRAINT {constraint} ON {table}"), None)?;
    add_comment(&mut entry, &Sql::from(format!("INDEX {index}")), row.opt_text("index_comment")?.as_deref());
    let mut draft = Draft::new(Address::new(class::PG_CONSTRAINT, row.oid("constraint_oid")?), entry);
    draft.also.push(Address::new(class::PG_CLASS, row.oid("index_oid")?));
    draft.needs.push(relation.address());
    Ok(draft)
}

fn definition(row: &Row) -> Result<String> {
    let primary = row.text("constraint_type")? == "p";
    let columns: Vec<String> = row.col::<Vec<String>>("columns")?.iter().map(|c| ident(c)).collect();
    let keys = usize::try_from(row.col::<i32>("key_count")?).unwrap_or(0).min(columns.len());
    let (keys, included) = columns.split_at(keys);
    let mut text = String::from(if primary { "PRIMARY KEY" } else { "UNIQUE" });
    if row.flag("nulls_not_distinct")? && !primary {
        text.push_str(" NULLS NOT DISTINCT");
    }
    text.push_str(&format!(" ({}", keys.join(", ")));
    if row.flag("period")? {
        text.push_str(" WITHOUT OVERLAPS");
    }
    text.push(')');
    if !included.is_empty() {
        text.push_str(&format!(" INCLUDE ({})", included.join(", ")));
    }
    text.push_str(&with_clause(&storage_parameters(&row.col::<Vec<String>>("index_options")?, "")));
    if row.flag("deferrable")? {
        text.push_str(" DEFERRABLE");
        if row.flag("deferred")? {
            text.push_str(" INITIALLY DEFERRED");
        }
    }
    Ok(text)
}
