//! Not-null constraints that are not valid: the rows may break them, so they come after the rows, and with them those that children inherit
//! from such a constraint, valid or not. Others belong to the table.
//!
//! Catalog: `pg_constraint` (`n`), from PostgreSQL 18 on.

use tokio_postgres::Row;

use super::check::{constraints_query, draft};
use super::columns::not_null_before_rows;
use crate::base::Result;
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Context, Draft, Kind};
use crate::pg::version::Feature;

/// Not-null constraints that come after the rows.
pub(super) const KIND: Kind = Kind { name: "not_null", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    let column = "(SELECT na.attname FROM pg_attribute na WHERE na.attrelid = k.conrelid AND na.attnum = k.conkey[1])";
    let late = || format!("k.contype = 'n' AND NOT {}", not_null_before_rows("k", column));
    cx.version.has(Feature::NotNullConstraints).then(|| constraints_query(&late()))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, "not_null")).collect()
}
