//! Rules other than those that make views.
//!
//! Catalog: `pg_rewrite`.

use tokio_postgres::Row;

use super::relation::{COLUMNS, Piece, join_relation, user_relation};
use crate::base::Result;
use crate::base::sql::Sql;
use crate::pg::catalog::entry::{Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta};
use crate::pg::catalog::row::RowExt;

/// Rules.
pub(super) const KIND: Kind = Kind { name: "rule", scope: Scope::Object, query, read };

fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, r.oid AS rule_oid, r.rulename::text AS name, r.ev_enabled::text AS enabled, pg_get_ruledef(r.oid) AS definition, {}
           FROM pg_rewrite r {}
          WHERE r.ev_type <> '1' AND {}
          ORDER BY n.nspname, c.relname, r.rulename",
        meta::columns(&MetaSource::plain(class::PG_REWRITE, "r.oid")),
        join_relation("r.ev_class"),
        user_relation()
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let Piece { relation, quoted: rule, table, mut entry, .. } = Piece::read(row, "rule", Phase::Post)?;
    let definition = row.text("definition")?;
    entry.create.extend(create(definition.trim_end().trim_end_matches(';'), &table));
    if let Some(state) = firing(&row.text("enabled")?) {
        entry.create.push(Sql::from(format!("ALTER TABLE {table} {state} RULE {rule}")));
    }
    entry.drop = Some(Sql::from(format!("DROP RULE IF EXISTS {rule} ON {table}")));
    apply_meta(&mut entry, row, format!("RULE {rule} ON {table}"), None)?;
    let mut draft = Draft::new(Address::new(class::PG_REWRITE, row.oid("rule_oid")?), entry);
    draft.needs.push(relation.address());
    Ok(draft)
}

/// Statements that make a rule. Minor releases before 17.11 and 18.6 let a rule be renamed to the name that those of views have, but not be made
/// under it.
fn create(definition: &str, table: &str) -> Vec<Sql> {
    match definition.strip_prefix("CREATE RULE \"_RETURN\" ") {
        Some(rest) => vec![
            Sql::from(format!("CREATE RULE \"_PGKEEP\" {rest}")),
            Sql::from(format!("ALTER RULE \"_PGKEEP\" ON {table} RENAME TO \"_RETURN\"")),
        ],
        None => vec![Sql::from(definition)],
    }
}

/// What ALTER TABLE says before RULE or TRIGGER so that it fires as the catalog has it; `None` where it fires as a new one does.
pub(super) fn firing(enabled: &str) -> Option<&'static str> {
    match enabled {
        "D" => Some("DISABLE"),
        "R" => Some("ENABLE REPLICA"),
        "A" => Some("ENABLE ALWAYS"),
        _ => None,
    }
}
