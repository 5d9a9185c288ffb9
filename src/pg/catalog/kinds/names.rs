//! Names of objects that another object refers to, as a column of its query: `text[]` of schema, name and, for functions, argument types;
//! null where it refers to none.

use tokio_postgres::Row;

use crate::base::Result;
use crate::base::sql::{ident, qualified};
use crate::pg::catalog::row::RowExt;

/// Expression of the name of the row with this oid of a catalog whose columns begin with `prefix`: `name_of("pg_collation", "coll", …)`.
pub(super) fn name_of(catalog: &str, prefix: &str, oid: &str) -> String {
    name_where(catalog, prefix, oid, "true")
}

/// As [`name_of`], null where the row `x` does not meet `condition`.
pub(super) fn name_where(catalog: &str, prefix: &str, oid: &str, condition: &str) -> String {
    format!(
        "(SELECT ARRAY[xn.nspname::text, x.{prefix}name::text] FROM {catalog} x JOIN pg_namespace xn ON xn.oid = x.{prefix}namespace
           WHERE x.oid = ({oid})::oid AND {condition})"
    )
}

/// Expression of a function with its argument types.
pub(super) fn function_of(oid: &str) -> String {
    format!(
        "(SELECT ARRAY[xn.nspname::text, x.proname::text, oidvectortypes(x.proargtypes)]
            FROM pg_proc x JOIN pg_namespace xn ON xn.oid = x.pronamespace WHERE x.oid = ({oid})::oid)"
    )
}

/// Reads a name, qualified and quoted; a function with its argument types.
pub(super) fn read_name(row: &Row, column: &str) -> Result<Option<String>> {
    let parts: Option<Vec<String>> = row.col(column)?;
    Ok(match parts.as_deref() {
        Some([schema, name]) => Some(qualified(schema, name)),
        Some([schema, name, types]) => Some(format!("{}({types})", qualified(schema, name))),
        _ => None,
    })
}

/// Reads the name of an operator as `OPERATOR("schema".+)`.
pub(super) fn read_operator(row: &Row, column: &str) -> Result<Option<String>> {
    let parts: Option<Vec<String>> = row.col(column)?;
    Ok(match parts.as_deref() {
        Some([schema, name]) => Some(format!("OPERATOR({}.{name})", ident(schema))),
        _ => None,
    })
}
