//! Enum types with their labels in order.

use tokio_postgres::Row;

use super::types;
use crate::base::Result;
use crate::base::sql::literal;
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Context, Draft, Kind};
use crate::pg::catalog::row::RowExt;

/// Enum types.
pub(super) const KIND: Kind = Kind { name: "enum_type", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    let extra =
        "ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) AS enum_labels";
    Some(types::query(extra, "", "t.typtype = 'e'"))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let labels: Vec<String> = row.col::<Vec<String>>("enum_labels")?.iter().map(|l| literal(l)).collect();
            types::draft(&KIND, "TYPE", row, cx, &format!(" AS ENUM ({})", labels.join(", ")))
        })
        .collect()
}
