//! Extended statistics objects; what ANALYZE collected for them is not part of a backup.
//!
//! Catalog: `pg_statistic_ext`.

use tokio_postgres::Row;

use super::relation::{COLUMNS, Relation, join_relation, user_relation};
use crate::base::Result;
use crate::base::sql::{Sql, qualified};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta, not_member};
use crate::pg::catalog::row::RowExt;

/// Extended statistics.
pub(super) const KIND: Kind = Kind { name: "statistics", scope: Scope::Object, query, read };

fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, s.oid AS statistics_oid, s.stxname::text AS name, sn.nspname::text AS schema,
                CASE WHEN s.stxstattarget >= 0 THEN s.stxstattarget::int4 END AS target, pg_get_statisticsobjdef(s.oid) AS definition, {}
           FROM pg_statistic_ext s JOIN pg_namespace sn ON sn.oid = s.stxnamespace {}
          WHERE {} AND {}
          ORDER BY sn.nspname, s.stxname",
        meta::columns(&MetaSource::owned(class::PG_STATISTIC_EXT, "s.oid", "s.stxowner")),
        join_relation("s.stxrelid"),
        not_member(class::PG_STATISTIC_EXT, "s.oid"),
        user_relation()
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let relation = Relation::read(row)?;
    let (schema, name) = (row.text("schema")?, row.text("name")?);
    let object = qualified(&schema, &name);
    let mut entry = Entry::new("statistics", Scope::Object, Phase::Post, Some(&schema), &name, &object);
    entry.parent = Some(relation.id());
    entry.create.push(Sql::from(row.text("definition")?));
    if let Some(target) = row.col::<Option<i32>>("target")? {
        entry.create.push(Sql::from(format!("ALTER STATISTICS {object} SET STATISTICS {target}")));
    }
    entry.drop = Some(Sql::from(format!("DROP STATISTICS IF EXISTS {object}")));
    apply_meta(&mut entry, row, format!("STATISTICS {object}"), None)?;
    Ok(Draft::new(Address::new(class::PG_STATISTIC_EXT, row.oid("statistics_oid")?), entry))
}
