//! Not-null constraints that are not valid: the rows may break them, so they come after the rows. Others belong to the table.
//!
//! Catalog: `pg_constraint` (`n`), from PostgreSQL 18 on.

use tokio_postgres::Row;

use super::check::{constraints_query, draft};
use crate::base::Result;
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Context, Draft, Kind};
use crate::pg::version::Feature;

/// Not-null constraints that are not valid.
pub(super) const KIND: Kind = Kind { name: "not_null", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    cx.version.has(Feature::NotNullConstraints).then(|| constraints_query("k.contype = 'n' AND NOT k.convalidated"))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, "not_null")).collect()
}
