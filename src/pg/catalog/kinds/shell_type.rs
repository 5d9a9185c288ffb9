//! Shell types that were never completed.

use tokio_postgres::Row;

use super::types;
use crate::base::Result;
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Context, Draft, Kind};

/// Shell types.
pub(super) const KIND: Kind = Kind { name: "shell_type", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(types::query("true AS shell", "", "t.typtype = 'p' AND NOT t.typisdefined"))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| types::draft(&KIND, "TYPE", row, cx, "")).collect()
}
