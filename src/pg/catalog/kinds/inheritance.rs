//! ALTER TABLE … INHERIT of children that were made standalone because they define all their columns themselves.
//!
//! Catalog: `pg_inherits` of ordinary and foreign tables. Other children have their parents in CREATE TABLE.

use tokio_postgres::Row;

use super::relation::{COLUMNS, Relation, join_relation, user_relation};
use super::table::joins_parents;
use crate::base::Result;
use crate::base::sql::{Sql, qualified};
use crate::pg::catalog::entry::{Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::row::RowExt;

/// Parents joined after both sides were made.
pub(super) const KIND: Kind = Kind { name: "inheritance", scope: Scope::Object, query, read };

/// `pg_inherits` has no oids: a pair is addressed by its child.
pub(super) const PG_INHERITS: u32 = 2611;

fn query(cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, array_agg(p.oid ORDER BY i.inhseqno) AS parents,
                array_agg(pn.nspname::text ORDER BY i.inhseqno) AS parent_schemas,
                array_agg(p.relname::text ORDER BY i.inhseqno) AS parent_names
           FROM pg_inherits i {} JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
          WHERE c.relkind IN ('r', 'f') AND {} AND {}
          GROUP BY c.oid, n.nspname, c.relname, c.relkind ORDER BY n.nspname, c.relname",
        join_relation("i.inhrelid"),
        joins_parents(cx),
        user_relation()
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let relation = Relation::read(row)?;
    let mut entry = crate::pg::catalog::entry::Entry::new(
        "inheritance",
        Scope::Object,
        Phase::Pre,
        Some(&relation.schema),
        &relation.name,
        &relation.qualified(),
    );
    entry.parent = Some(relation.id());
    let (schemas, names): (Vec<String>, Vec<String>) = (row.col("parent_schemas")?, row.col("parent_names")?);
    for (schema, name) in schemas.iter().zip(&names) {
        entry.create.push(Sql::from(format!("ALTER TABLE ONLY {} INHERIT {}", relation.qualified(), qualified(schema, name))));
    }
    let mut draft = Draft::new(Address::new(PG_INHERITS, relation.oid), entry);
    draft.needs.push(relation.address());
    draft.needs.extend(row.col::<Vec<u32>>("parents")?.into_iter().map(|oid| Address::new(class::PG_CLASS, oid)));
    Ok(draft)
}
