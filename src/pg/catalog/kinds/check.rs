//! Check constraints of tables and foreign tables.
//!
//! Catalog: `pg_constraint` (`c`, of tables). A constraint is added to the table that declares it and reaches children and partitions from
//! there, so it waits until these have joined; inherited ones have an entry only where they differ from their origin: valid where that is
//! not, or with a comment of their own. Constraints that are not valid, or not enforced, come after the rows.

use tokio_postgres::Row;

use super::inheritance::PG_INHERITS;
use super::relation::{COLUMNS, Piece, join_relation, user_relation};
use crate::base::Result;
use crate::base::sql::Sql;
use crate::pg::catalog::entry::{Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta};
use crate::pg::catalog::row::RowExt;

/// Check constraints.
pub(super) const KIND: Kind = Kind { name: "check", scope: Scope::Object, query, read };

fn query(_cx: &Context) -> Option<String> {
    Some(constraints_query("k.contype = 'c'"))
}

/// Constraints that children inherit, with the constraints they are inherited from and the pairs of `pg_inherits` below their table.
pub(super) fn constraints_query(condition: &str) -> String {
    let column = |key: &str| {
        format!("(SELECT ka.attname FROM pg_attribute ka WHERE ka.attrelid = {key}.conrelid AND ka.attnum = {key}.conkey[1])")
    };
    let same = format!(
        "pk.contype = k.contype AND CASE WHEN k.contype = 'n' THEN {} = {} ELSE pk.conname = k.conname END",
        column("pk"),
        column("k")
    );
    format!(
        "SELECT * FROM (
           SELECT {COLUMNS}, k.oid AS constraint_oid, k.conname::text AS name, k.convalidated AS valid, k.conislocal AS local,
                pg_get_constraintdef(k.oid) AS definition,
                CASE WHEN NOT k.conislocal THEN
                  ARRAY(WITH RECURSIVE above (oid) AS (SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = k.conrelid
                          UNION SELECT i.inhparent FROM pg_inherits i JOIN above b ON i.inhrelid = b.oid)
                        SELECT pk.oid FROM above JOIN pg_constraint pk ON pk.conrelid = above.oid AND {same} ORDER BY pk.oid)
                  ELSE '{{}}' END AS origins,
                EXISTS (SELECT FROM pg_inherits i JOIN pg_constraint pk ON pk.conrelid = i.inhparent AND {same}
                         WHERE i.inhrelid = k.conrelid AND NOT pk.convalidated) AS origin_invalid,
                CASE WHEN k.contype = 'n' AND k.conislocal THEN
                  ARRAY(WITH RECURSIVE below (oid) AS (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = k.conrelid
                          UNION SELECT i.inhrelid FROM pg_inherits i JOIN below b ON i.inhparent = b.oid)
                        SELECT pk.oid FROM below JOIN pg_constraint pk ON pk.conrelid = below.oid AND {same}
                            AND pk.conislocal AND NOT pk.convalidated ORDER BY pk.oid)
                  ELSE '{{}}' END AS declared_below,
                CASE WHEN EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = k.conrelid) THEN
                  ARRAY(WITH RECURSIVE below (oid) AS (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = k.conrelid
                          UNION SELECT i.inhrelid FROM pg_inherits i JOIN below b ON i.inhparent = b.oid) SELECT oid FROM below ORDER BY oid)
                  ELSE '{{}}' END AS descendants,
                {}
             FROM pg_constraint k {}
            WHERE {condition} AND c.relkind IN ('r', 'p', 'f') AND {}) x
          WHERE local OR (valid AND origin_invalid) OR comment IS NOT NULL
          ORDER BY rel_schema, rel_name, name",
        meta::columns(&MetaSource::plain(class::PG_CONSTRAINT, "k.oid")),
        join_relation("k.conrelid"),
        user_relation()
    )
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, "check")).collect()
}

/// Renders one row of [`constraints_query`].
pub(super) fn draft(row: &Row, kind: &str) -> Result<Draft> {
    let valid = row.flag("valid")?;
    let phase = if valid { Phase::Pre } else { Phase::Post };
    let Piece { relation, quoted: constraint, table, mut entry, .. } = Piece::read(row, kind, phase)?;
    if row.flag("local")? {
        let definition = row.text("definition")?;
        entry.create.push(Sql::from(format!("ALTER TABLE {table} ADD CONSTRAINT {constraint} {definition}")));
        entry.drop = Some(Sql::from(format!("ALTER TABLE IF EXISTS {table} DROP CONSTRAINT IF EXISTS {constraint}")));
    } else if valid && row.flag("origin_invalid")? {
        entry.create.push(Sql::from(format!("ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}")));
    }
    apply_meta(&mut entry, row, format!("CONSTRAINT {constraint} ON {table}"), None)?;
    let mut draft = Draft::new(Address::new(class::PG_CONSTRAINT, row.oid("constraint_oid")?), entry);
    draft.needs.push(relation.address());
    draft.needs.extend(row.col::<Vec<u32>>("descendants")?.into_iter().map(|oid| Address::new(PG_INHERITS, oid)));
    // A not-null constraint that a child declares keeps its name only where it is there before that of its parent.
    draft.needs.extend(
        row.col::<Vec<u32>>("origins")?
            .into_iter()
            .chain(row.col::<Vec<u32>>("declared_below")?)
            .map(|oid| Address::new(class::PG_CONSTRAINT, oid)),
    );
    Ok(draft)
}
