//! Foreign keys.
//!
//! Catalog: `pg_constraint` (`f`) without those that partitions have from their table. Between ordinary tables a key is added NOT VALID and
//! then validated, two statements, so that a restore can validate many at a time; before 18, VALIDATE leaves what such a key has on the
//! partitions of the table that it refers to as it is.

use tokio_postgres::Row;

use super::inheritance::PG_INHERITS;
use super::relation::{COLUMNS, Piece, join_relation, user_relation};
use crate::base::Result;
use crate::base::sql::Sql;
use crate::pg::catalog::entry::{Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta};
use crate::pg::catalog::row::RowExt;

/// Foreign keys.
pub(super) const KIND: Kind = Kind { name: "foreign_key", scope: Scope::Object, query, read };

fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, k.oid AS constraint_oid, k.conname::text AS name, k.convalidated AS valid, 'p' IN (rc.relkind, c.relkind) AS partitioned,
                pg_get_constraintdef(k.oid) AS definition,
                CASE WHEN rc.relkind = 'p' THEN
                  ARRAY(SELECT t.relid::oid FROM pg_partition_tree(k.conindid) t WHERE t.level > 0 ORDER BY 1) ELSE '{{}}' END
                  AS index_partitions,
                CASE WHEN 'p' IN (rc.relkind, c.relkind) THEN
                  ARRAY(SELECT t.relid::oid FROM unnest(ARRAY[k.conrelid, k.confrelid]) r, pg_partition_tree(r) t WHERE t.level > 0
                         ORDER BY 1) ELSE '{{}}' END AS partitions,
                {}
           FROM pg_constraint k {} JOIN pg_class rc ON rc.oid = k.confrelid
          WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relkind IN ('r', 'p') AND {}
          ORDER BY n.nspname, c.relname, k.conname",
        meta::columns(&MetaSource::plain(class::PG_CONSTRAINT, "k.oid")),
        join_relation("k.conrelid"),
        user_relation()
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let Piece { quoted: constraint, table, mut entry, .. } = Piece::read(row, "foreign_key", Phase::Post)?;
    let definition = row.text("definition")?;
    if row.flag("partitioned")? {
        let only = if row.text("rel_kind")? == "p" { "" } else { "ONLY " };
        entry.create.push(Sql::from(format!("ALTER TABLE {only}{table} ADD CONSTRAINT {constraint} {definition}")));
    } else if row.flag("valid")? {
        entry.create.push(Sql::from(format!("ALTER TABLE ONLY {table} ADD CONSTRAINT {constraint} {definition} NOT VALID")));
        entry.create.push(Sql::from(format!("ALTER TABLE ONLY {table} VALIDATE CONSTRAINT {constraint}")));
    } else {
        entry.create.push(Sql::from(format!("ALTER TABLE ONLY {table} ADD CONSTRAINT {constraint} {definition}")));
    }
    entry.drop = Some(Sql::from(format!("ALTER TABLE IF EXISTS {table} DROP CONSTRAINT IF EXISTS {constraint}")));
    apply_meta(&mut entry, row, format!("CONSTRAINT {constraint} ON {table}"), None)?;
    let mut draft = Draft::new(Address::new(class::PG_CONSTRAINT, row.oid("constraint_oid")?), entry);
    for column in ["index_partitions", "partitions"] {
        draft.needs.extend(row.col::<Vec<u32>>(column)?.into_iter().map(|oid| Address::new(PG_INHERITS, oid)));
    }
    Ok(draft)
}
