//! Procedures, as `pg_get_functiondef` writes them.

use tokio_postgres::Row;

use super::function::{routine, routines};
use crate::base::Result;
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Context, Draft, Kind};

/// Procedures.
pub(super) const KIND: Kind = Kind { name: "procedure", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    Some(routines(cx, "p.prokind = 'p'"))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| routine(&KIND, "PROCEDURE", row, cx)).collect()
}
