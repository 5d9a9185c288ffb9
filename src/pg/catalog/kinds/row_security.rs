//! ENABLE ROW LEVEL SECURITY, after the rows: loading them must not meet policies.
//!
//! Catalog: `pg_class.relrowsecurity`. FORCE belongs to the table.

use tokio_postgres::Row;

use super::relation::{COLUMNS, Relation, user_relation};
use crate::base::Result;
use crate::base::sql::Sql;
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind};

/// Row security of tables.
pub(super) const KIND: Kind = Kind { name: "row_security", scope: Scope::Object, query, read };

/// Column number of the address that stands for the row security of a table.
const ROW_SECURITY: i32 = -4;

fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relrowsecurity AND c.relkind IN ('r', 'p') AND {} ORDER BY n.nspname, c.relname",
        user_relation()
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let relation = Relation::read(row)?;
    let name = relation.qualified();
    let mut entry = Entry::new("row_security", Scope::Object, Phase::Post, Some(&relation.schema), &relation.name, &name);
    entry.parent = Some(relation.id());
    entry.create.push(Sql::from(format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")));
    entry.drop = Some(Sql::from(format!("ALTER TABLE IF EXISTS {name} DISABLE ROW LEVEL SECURITY")));
    Ok(Draft::new(Address { sub: ROW_SECURITY, ..relation.address() }, entry))
}
