//! Range types with their multirange type.

use tokio_postgres::Row;

use super::types;
use crate::base::Result;
use crate::base::sql::qualified;
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::row::RowExt;

/// Range types.
pub(super) const KIND: Kind = Kind { name: "range_type", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    let name_of = |catalog: &str, prefix: &str, oid: &str, condition: &str| {
        format!(
            "(SELECT ARRAY[xn.nspname::text, x.{prefix}name::text] FROM {catalog} x JOIN pg_namespace xn ON xn.oid = x.{prefix}namespace
               WHERE x.oid = {oid}{condition})"
        )
    };
    let multirange = if cx.version.at_least(14) { "r.rngmultitypid" } else { "0::oid" };
    let extra = format!(
        "format_type(r.rngsubtype, NULL) AS subtype, {multirange} AS multirange_oid,
         coalesce((SELECT x.typarray FROM pg_type x WHERE x.oid = {multirange}), 0) AS multirange_array,
         {} AS multirange, {} AS opclass, {} AS collation_name, {} AS canonical, {} AS subtype_diff",
        name_of("pg_type", "typ", multirange, ""),
        name_of("pg_opclass", "opc", "r.rngsubopc", " AND NOT x.opcdefault"),
        name_of("pg_collation", "coll", "r.rngcollation", " AND x.oid <> st.typcollation"),
        name_of("pg_proc", "pro", "r.rngcanonical::oid", ""),
        name_of("pg_proc", "pro", "r.rngsubdiff::oid", ""),
    );
    let joins = "JOIN pg_range r ON r.rngtypid = t.oid JOIN pg_type st ON st.oid = r.rngsubtype";
    Some(types::query(&extra, joins, "t.typtype = 'r'"))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, cx)).collect()
}

fn draft(row: &Row, cx: &Context) -> Result<Draft> {
    let mut parts = vec![format!("subtype = {}", row.text("subtype")?)];
    let options = [
        ("multirange", "multirange_type_name"),
        ("opclass", "subtype_opclass"),
        ("collation_name", "collation"),
        ("canonical", "canonical"),
        ("subtype_diff", "subtype_diff"),
    ];
    for (column, option) in options {
        if let Some([schema, name]) = row.col::<Option<Vec<String>>>(column)?.as_deref() {
            parts.push(format!("{option} = {}", qualified(schema, name)));
        }
    }
    let mut draft = types::draft(&KIND, "TYPE", row, cx, &format!("RANGE ({})", parts.join(", ")))?;
    let also = [row.oid("multirange_oid")?, row.oid("multirange_array")?];
    draft.also.extend(also.into_iter().filter(|o| *o != 0).map(|o| Address::new(class::PG_TYPE, o)));
    Ok(draft)
}
