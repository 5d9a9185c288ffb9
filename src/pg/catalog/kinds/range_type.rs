//! Range types with their multirange type. A canonical function takes the type itself, so such a type is made in two steps.

use tokio_postgres::Row;

use super::names::{name_of, name_where, read_name};
use super::types;
use crate::base::Result;
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Range types.
pub(super) const KIND: Kind = Kind { name: "range_type", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    let multirange = if cx.version.has(Feature::MultirangeTypes) { "r.rngmultitypid" } else { "0::oid" };
    let extra = format!(
        "format_type(r.rngsubtype, NULL) AS subtype, {multirange} AS multirange_oid,
         coalesce((SELECT x.typarray FROM pg_type x WHERE x.oid = {multirange}), 0) AS multirange_array,
         {} AS multirange, {} AS opclass, {} AS collation_name, {} AS canonical, {} AS subtype_diff",
        name_of("pg_type", "typ", multirange),
        name_where("pg_opclass", "opc", "r.rngsubopc", "NOT x.opcdefault"),
        name_where("pg_collation", "coll", "r.rngcollation", "x.oid <> st.typcollation"),
        name_of("pg_proc", "pro", "r.rngcanonical"),
        name_of("pg_proc", "pro", "r.rngsubdiff"),
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
        parts.extend(read_name(row, column)?.map(|name| format!("{option} = {name}")));
    }
    let mut draft = types::draft(&KIND, "TYPE", row, cx, &format!(" AS RANGE ({})", parts.join(", ")))?;
    let also = [row.oid("multirange_oid")?, row.oid("multirange_array")?];
    draft.also.extend(also.into_iter().filter(|o| *o != 0).map(|o| Address::new(class::PG_TYPE, o)));
    if row.col::<Option<Vec<String>>>("canonical")?.is_some() { types::with_shell(draft, row) } else { Ok(draft) }
}
