//! ALTER TABLE … ATTACH PARTITION.
//!
//! Catalogs: `pg_inherits`, `pg_class.relpartbound`. Partitions are made standalone, so that their columns keep their own order. Those that are
//! foreign tables, which have no indexes, join when the indexes of the table are complete: an index whose parts are attached one by one would
//! wait for a part of theirs and stay invalid.

use tokio_postgres::Row;

use super::inheritance::PG_INHERITS;
use super::relation::{COLUMNS, Relation, join_relation, user_relation};
use crate::base::Result;
use crate::base::sql::{Sql, qualified};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::row::RowExt;

/// Partitions of tables.
pub(super) const KIND: Kind = Kind { name: "partition", scope: Scope::Object, query, read };

fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, p.oid AS parent, pn.nspname::text AS parent_schema, p.relname::text AS parent_name,
                pg_get_expr(c.relpartbound, c.oid) AS bound,
                ARRAY(SELECT x.indexrelid FROM pg_index x WHERE c.relkind = 'f' AND x.indrelid = p.oid ORDER BY 1) AS indexes,
                ARRAY(SELECT xi.inhrelid FROM pg_index x JOIN pg_inherits xi ON xi.inhparent = x.indexrelid
                       WHERE c.relkind = 'f' AND x.indrelid = p.oid ORDER BY 1) AS index_partitions
           FROM pg_inherits i {} JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
          WHERE c.relispartition AND c.relkind IN ('r', 'p', 'f') AND {}
          ORDER BY n.nspname, c.relname",
        join_relation("i.inhrelid"),
        user_relation()
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let relation = Relation::read(row)?;
    let name = relation.qualified();
    let mut entry = Entry::new("partition", Scope::Object, Phase::Pre, Some(&relation.schema), &relation.name, &name);
    entry.parent = Some(relation.id());
    let parent = qualified(&row.text("parent_schema")?, &row.text("parent_name")?);
    entry.create.push(Sql::from(format!("ALTER TABLE ONLY {parent} ATTACH PARTITION {name} {}", row.text("bound")?)));
    let mut draft = Draft::new(Address::new(PG_INHERITS, relation.oid), entry);
    draft.needs = vec![relation.address(), Address::new(class::PG_CLASS, row.oid("parent")?)];
    draft.needs.extend(row.col::<Vec<u32>>("indexes")?.into_iter().map(|oid| Address::new(class::PG_CLASS, oid)));
    draft.needs.extend(row.col::<Vec<u32>>("index_partitions")?.into_iter().map(|oid| Address::new(PG_INHERITS, oid)));
    Ok(draft)
}
