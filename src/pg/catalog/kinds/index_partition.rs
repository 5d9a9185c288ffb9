//! ALTER INDEX … ATTACH PARTITION: indexes of partitions become parts of the index of the partitioned table.
//!
//! Catalog: `pg_inherits` of indexes, those of constraints too.

use tokio_postgres::Row;

use super::inheritance::PG_INHERITS;
use super::relation::{COLUMNS, Relation, join_relation, user_relation};
use crate::base::Result;
use crate::base::sql::{Sql, qualified};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::row::RowExt;

/// Partitions of indexes.
pub(super) const KIND: Kind = Kind { name: "index_partition", scope: Scope::Object, query, read };

fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, ic.oid AS index_oid, ic.relname::text AS index_name, pi.oid AS parent, pn.nspname::text AS parent_schema,
                pi.relname::text AS parent_name
           FROM pg_inherits i JOIN pg_class ic ON ic.oid = i.inhrelid AND ic.relkind IN ('i', 'I')
           JOIN pg_index x ON x.indexrelid = ic.oid {}
           JOIN pg_class pi ON pi.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = pi.relnamespace
          WHERE (x.indisvalid OR c.relkind = 'p') AND x.indisready AND c.relkind IN ('r', 'p') AND {}
          ORDER BY n.nspname, ic.relname",
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
    let (oid, index) = (row.oid("index_oid")?, qualified(&relation.schema, &name));
    let mut entry = Entry::new("index_partition", Scope::Object, Phase::Post, Some(&relation.schema), &name, &index);
    entry.parent = Some(relation.id());
    let parent = qualified(&row.text("parent_schema")?, &row.text("parent_name")?);
    entry.create.push(Sql::from(format!("ALTER INDEX {parent} ATTACH PARTITION {index}")));
    let mut draft = Draft::new(Address::new(PG_INHERITS, oid), entry);
    draft.needs = vec![
        Address::new(class::PG_CLASS, oid),
        Address::new(class::PG_CLASS, row.oid("parent")?),
        Address::new(PG_INHERITS, relation.oid),
    ];
    Ok(draft)
}
