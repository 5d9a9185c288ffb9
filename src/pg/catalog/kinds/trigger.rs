//! Triggers of tables, foreign tables and views.
//!
//! Catalog: `pg_trigger` without internal ones and without the copies that partitions have from their table, except where a copy fires
//! otherwise than the original: then ALTER TABLE says so.

use tokio_postgres::Row;

use super::inheritance::PG_INHERITS;
use super::relation::{COLUMNS, Piece, add_depends_on, depends_on, join_relation, user_relation};
use super::rule::firing;
use crate::base::Result;
use crate::base::sql::Sql;
use crate::pg::catalog::entry::{Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta};
use crate::pg::catalog::row::RowExt;

/// Triggers.
pub(super) const KIND: Kind = Kind { name: "trigger", scope: Scope::Object, query, read };

fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, t.oid AS trigger_oid, t.tgname::text AS name, t.tgenabled::text AS enabled, t.tgparentid <> 0 AS is_copy,
                pg_get_triggerdef(t.oid, false) AS definition,
                CASE WHEN c.relkind = 'p' THEN ARRAY(SELECT p.relid::oid FROM pg_partition_tree(c.oid) p WHERE p.level > 0 ORDER BY 1)
                  ELSE '{{}}' END AS partitions,
                {}, {}
           FROM pg_trigger t {} LEFT JOIN pg_trigger u ON u.oid = t.tgparentid
          WHERE ((NOT t.tgisinternal AND t.tgparentid = 0) OR (t.tgparentid <> 0 AND u.tgenabled <> t.tgenabled
                  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.oid = t.tgconstraint AND k.contype = 'f')))
            AND c.relkind IN ('r', 'p', 'v', 'f') AND {}
          ORDER BY n.nspname, c.relname, t.tgname",
        depends_on(class::PG_TRIGGER, "t.oid"),
        meta::columns(&MetaSource::plain(class::PG_TRIGGER, "t.oid")),
        join_relation("t.tgrelid"),
        user_relation()
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let Piece { relation, quoted: trigger, table, mut entry, .. } = Piece::read(row, "trigger", Phase::Post)?;
    let state = firing(&row.text("enabled")?);
    if row.flag("is_copy")? {
        let state = state.unwrap_or("ENABLE");
        entry.create.push(Sql::from(format!("ALTER TABLE {table} {state} TRIGGER {trigger}")));
    } else {
        entry.create.push(Sql::from(row.text("definition")?));
        if let Some(state) = state {
            entry.create.push(Sql::from(format!("ALTER TABLE {table} {state} TRIGGER {trigger}")));
        }
        entry.drop = Some(Sql::from(format!("DROP TRIGGER IF EXISTS {trigger} ON {table}")));
    }
    add_depends_on(&mut entry, row, &format!("TRIGGER {trigger} ON {table}"))?;
    apply_meta(&mut entry, row, format!("TRIGGER {trigger} ON {table}"), None)?;
    let mut draft = Draft::new(Address::new(class::PG_TRIGGER, row.oid("trigger_oid")?), entry);
    draft.needs.push(relation.address());
    draft.needs.extend(row.col::<Vec<u32>>("partitions")?.into_iter().map(|oid| Address::new(PG_INHERITS, oid)));
    Ok(draft)
}
