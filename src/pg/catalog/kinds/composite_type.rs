//! Stand-alone composite types with their columns, collations, comments and labels on columns.

use tokio_postgres::Row;

use super::types;
use crate::base::sql::{Sql, ident, qualified};
use crate::base::{Error, Result};
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Context, Draft, Kind};
use crate::pg::catalog::meta::{add_comment, add_labels};
use crate::pg::catalog::row::RowExt;

/// Composite types.
pub(super) const KIND: Kind = Kind { name: "composite_type", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    let live = "FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    let collation = |part: &str| {
        format!(
            "ARRAY(SELECT (SELECT {part}::text FROM pg_collation k JOIN pg_namespace kn ON kn.oid = k.collnamespace, pg_type at
                            WHERE k.oid = a.attcollation AND at.oid = a.atttypid AND at.typcollation <> a.attcollation) {live})"
        )
    };
    let extra = format!(
        "ARRAY(SELECT a.attname::text {live}) AS column_names,
         ARRAY(SELECT format_type(a.atttypid, a.atttypmod) {live}) AS column_types,
         {} AS collation_schemas, {} AS collation_names,
         ARRAY(SELECT (SELECT d.description FROM pg_description d
                        WHERE d.classoid = 'pg_class'::regclass AND d.objoid = a.attrelid AND d.objsubid = a.attnum) {live}) AS column_comments,
         ARRAY(SELECT (SELECT json_agg(json_build_array(s.provider, s.label) ORDER BY s.provider)::text FROM pg_seclabel s
                        WHERE s.classoid = 'pg_class'::regclass AND s.objoid = a.attrelid AND s.objsubid = a.attnum) {live}) AS column_labels",
        collation("kn.nspname"),
        collation("k.collname")
    );
    Some(types::query(&extra, "JOIN pg_class c ON c.oid = t.typrelid", "t.typtype = 'c' AND c.relkind = 'c'"))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, cx)).collect()
}

fn draft(row: &Row, cx: &Context) -> Result<Draft> {
    let (names, column_types): (Vec<String>, Vec<String>) = (row.col("column_names")?, row.col("column_types")?);
    let schemas: Vec<Option<String>> = row.col("collation_schemas")?;
    let collations: Vec<Option<String>> = row.col("collation_names")?;
    let mut columns = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let mut column = format!("{} {}", ident(name), column_types[i]);
        if let (Some(schema), Some(collation)) = (&schemas[i], &collations[i]) {
            column.push_str(&format!(" COLLATE {}", qualified(schema, collation)));
        }
        columns.push(column);
    }
    let mut draft = types::draft(&KIND, "TYPE", row, cx, &format!(" AS ({})", columns.join(", ")))?;
    let identity = qualified(&row.text("schema")?, &row.text("name")?);
    let per_column = |what: &str| row.col::<Vec<Option<String>>>(what);
    for ((name, comment), labels) in names.iter().zip(per_column("column_comments")?).zip(per_column("column_labels")?) {
        let noun = Sql::from(format!("COLUMN {identity}.{}", ident(name)));
        add_comment(&mut draft.entry, &noun, comment.as_deref());
        add_labels(&mut draft.entry, &noun, &pairs(labels.as_deref())?);
    }
    Ok(draft)
}

/// Providers and labels in turn, out of a JSON array of pairs.
fn pairs(json: Option<&str>) -> Result<Vec<String>> {
    let pairs: Vec<[String; 2]> = json
        .map_or(Ok(Vec::new()), serde_json::from_str)
        .map_err(|e| Error::internal("read the labels of a composite type").source(e))?;
    Ok(pairs.into_iter().flatten().collect())
}
