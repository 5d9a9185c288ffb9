//! Indexes of tables and materialised views that no constraint owns.
//!
//! Catalogs: `pg_index`, `pg_class` (`i`, `I`). Left out: invalid indexes, which a failed CREATE INDEX CONCURRENTLY leaves behind, except
//! those of partitioned tables, which are invalid until every partition has one.

use tokio_postgres::Row;

use super::relation::{COLUMNS, Relation, add_depends_on, depends_on, in_tablespace, join_relation, user_relation};
use crate::base::Result;
use crate::base::sql::{Sql, ident, qualified};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta};
use crate::pg::catalog::row::RowExt;

/// Indexes.
pub(super) const KIND: Kind = Kind { name: "index", scope: Scope::Object, query, read };

/// What constraints and indexes read alike, of `pg_index x`, `pg_class ic`, `pg_tablespace ts`.
pub(super) const INDEX_COLUMNS: &str = "ic.oid AS index_oid, ic.relname::text AS index_name, ts.spcname::text AS tablespace,
    x.indisclustered AS clustered, x.indisreplident AS replica_identity, coalesce(ic.reloptions, '{}') AS index_options";

fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, {INDEX_COLUMNS}, pg_get_indexdef(ic.oid) AS definition,
                ARRAY(SELECT a.attnum::int4 FROM pg_attribute a WHERE a.attrelid = ic.oid AND a.attstattarget >= 0 ORDER BY a.attnum)
                  AS statistics_columns,
                ARRAY(SELECT a.attstattarget::int4 FROM pg_attribute a WHERE a.attrelid = ic.oid AND a.attstattarget >= 0
                       ORDER BY a.attnum) AS statistics_targets,
                {}, {}
           FROM pg_index x {} JOIN pg_class ic ON ic.oid = x.indexrelid
           LEFT JOIN pg_tablespace ts ON ts.oid = ic.reltablespace
          WHERE (x.indisvalid OR c.relkind = 'p') AND x.indisready AND c.relkind IN ('r', 'p', 'm') AND {}
            AND NOT EXISTS (SELECT FROM pg_constraint k
                             WHERE k.conrelid = x.indrelid AND k.conindid = ic.oid AND k.contype IN ('p', 'u', 'x'))
          ORDER BY n.nspname, ic.relname",
        depends_on(class::PG_CLASS, "ic.oid"),
        meta::columns(&MetaSource::plain(class::PG_CLASS, "ic.oid")),
        join_relation("x.indrelid"),
        user_relation()
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let relation = Relation::read(row)?;
    let name = row.text("index_name")?;
    let index = qualified(&relation.schema, &name);
    let mut entry = Entry::new("index", Scope::Object, Phase::Post, Some(&relation.schema), &name, &index);
    entry.parent = Some(relation.id());
    entry.create = in_tablespace(row.opt_text("tablespace")?.as_deref(), vec![Sql::from(row.text("definition")?)]);
    add_index_properties(&mut entry, row, &relation)?;
    let (numbers, targets): (Vec<i32>, Vec<i32>) = (row.col("statistics_columns")?, row.col("statistics_targets")?);
    for (number, target) in numbers.iter().zip(&targets) {
        entry.create.push(Sql::from(format!("ALTER INDEX {index} ALTER COLUMN {number} SET STATISTICS {target}")));
    }
    add_depends_on(&mut entry, row, &format!("INDEX {index}"))?;
    entry.drop = Some(Sql::from(format!("DROP INDEX IF EXISTS {index}")));
    apply_meta(&mut entry, row, format!("INDEX {index}"), None)?;
    let mut draft = Draft::new(Address::new(class::PG_CLASS, row.oid("index_oid")?), entry);
    draft.needs.push(relation.address());
    Ok(draft)
}

/// Marks the index as the one that the table is clustered on, and as its replica identity.
pub(super) fn add_index_properties(entry: &mut Entry, row: &Row, relation: &Relation) -> Result<()> {
    let (table, index) = (relation.qualified(), ident(&row.text("index_name")?));
    if row.flag("clustered")? {
        entry.create.push(Sql::from(format!("ALTER TABLE {table} CLUSTER ON {index}")));
    }
    if row.flag("replica_identity")? {
        entry.create.push(Sql::from(format!("ALTER TABLE ONLY {table} REPLICA IDENTITY USING INDEX {index}")));
    }
    Ok(())
}
