//! REFRESH of the materialised views that are populated, each after those that it reads, directly or through views.
//!
//! A refresh runs as the view's owner and reads its tables with that role's privileges: a restore runs these entries after all privileges
//! were granted.

use tokio_postgres::Row;

use super::relation::{COLUMNS, Relation, user_relation};
use crate::base::Result;
use crate::base::sql::Sql;
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind};
use crate::pg::catalog::row::RowExt;

/// Rows of materialised views.
pub(super) const KIND: Kind = Kind { name: "materialized_view_data", scope: Scope::Object, query, read };

/// Column number of the address that stands for the rows of a materialised view.
const ROWS: i32 = -3;

/// One that reads a view without rows could not be refreshed, so it is left without rows too.
fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "WITH RECURSIVE reads (view, relation) AS (
            SELECT r.ev_class, d.refobjid FROM pg_rewrite r
              JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
              JOIN pg_class m ON m.oid = r.ev_class AND m.relkind = 'm' JOIN pg_class s ON s.oid = d.refobjid AND s.relkind IN ('v', 'm')
             WHERE d.refobjid <> r.ev_class
            UNION
            SELECT b.view, d.refobjid FROM reads b JOIN pg_rewrite r ON r.ev_class = b.relation
              JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
              JOIN pg_class s ON s.oid = d.refobjid AND s.relkind IN ('v', 'm')
             WHERE d.refobjid <> r.ev_class)
         SELECT {COLUMNS}, ARRAY(SELECT b.relation FROM reads b JOIN pg_class s ON s.oid = b.relation
                                  WHERE b.view = c.oid AND s.relkind = 'm' AND s.oid <> c.oid ORDER BY 1) AS sources
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind = 'm' AND c.relispopulated AND {}
            AND NOT EXISTS (SELECT FROM reads b JOIN pg_class s ON s.oid = b.relation
                             WHERE b.view = c.oid AND s.relkind = 'm' AND NOT s.relispopulated)
          ORDER BY n.nspname, c.relname",
        user_relation()
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let relation = Relation::read(row)?;
    let name = relation.qualified();
    let mut entry =
        Entry::new("materialized_view_data", Scope::Object, Phase::Post, Some(&relation.schema), &relation.name, &name);
    entry.parent = Some(relation.id());
    entry.create.push(Sql::from(format!("REFRESH MATERIALIZED VIEW {name}")));
    let mut draft = Draft::new(Address { sub: ROWS, ..relation.address() }, entry);
    draft.needs = row
        .col::<Vec<u32>>("sources")?
        .into_iter()
        .map(|oid| Address { sub: ROWS, ..Address::new(crate::pg::catalog::kind::class::PG_CLASS, oid) })
        .collect();
    Ok(draft)
}
