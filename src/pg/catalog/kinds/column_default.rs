//! Defaults of columns of tables, foreign tables and views.
//!
//! Catalog: `pg_attrdef` without generation expressions, which belong to the table.

use tokio_postgres::Row;

use super::relation::{COLUMNS, Relation, join_relation, user_relation};
use crate::base::Result;
use crate::base::sql::{Sql, ident};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::row::RowExt;

/// Column defaults.
pub(super) const KIND: Kind = Kind { name: "column_default", scope: Scope::Object, query, read };

fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, d.oid AS default_oid, a.attname::text AS column_name, pg_get_expr(d.adbin, d.adrelid) AS expression
           FROM pg_attrdef d {} JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
          WHERE a.attgenerated = '' AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'f') AND {}
          ORDER BY n.nspname, c.relname, a.attnum",
        join_relation("d.adrelid"),
        user_relation()
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let relation = Relation::read(row)?;
    let column = row.text("column_name")?;
    let identity = format!("{}.{}", relation.qualified(), ident(&column));
    let mut entry = Entry::new("column_default", Scope::Object, Phase::Pre, Some(&relation.schema), &column, &identity);
    entry.parent = Some(relation.id());
    let alter = format!("ALTER TABLE ONLY {} ALTER COLUMN {}", relation.qualified(), ident(&column));
    entry.create.push(Sql::from(format!("{alter} SET DEFAULT {}", row.text("expression")?)));
    Ok(Draft::new(Address::new(class::PG_ATTRDEF, row.oid("default_oid")?), entry))
}
