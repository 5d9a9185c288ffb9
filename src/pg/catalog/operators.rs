//! Operators that SQL text uses without naming them.
//!
//! `IS DISTINCT FROM`, `CASE x WHEN`, `NULLIF`, `JOIN … USING` and the like look up `=` when they are parsed, and PostgreSQL writes them back
//! without its schema. Read with an empty `search_path`, such text fails, or silently compares otherwise: `citext` as `text`. What depends on
//! operators of other schemas than `pg_catalog` is therefore made with these schemas in the path; all other names are written qualified.

use std::collections::{BTreeSet, HashMap};

use tokio_postgres::Client;

use super::depends::Edge;
use super::extract::query;
use super::kind::{Draft, class};
use super::row::RowExt;
use crate::base::Result;
use crate::base::sql::{Sql, ident};

/// Kinds whose statements hold expressions. Others name the operators that they depend on.
const EXPRESSIONS: &[&str] = &[
    "check",
    "column_default",
    "constraint",
    "domain",
    "domain_constraint",
    "function",
    "index",
    "materialized_view",
    "policy",
    "procedure",
    "publication_member",
    "rule",
    "statistics",
    "table",
    "trigger",
    "view",
];

const QUERY: &str = "SELECT o.oid, n.nspname::text AS schema FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
                      WHERE n.nspname <> 'pg_catalog'";

/// Sets the path around the statements of those that need it.
pub(super) async fn add_paths(client: &Client, drafts: &mut [Draft], edges: &[Edge]) -> Result<()> {
    let mut schemas: HashMap<u32, String> = HashMap::new();
    for row in query(client, "operators of schemas", QUERY).await? {
        schemas.insert(row.oid("oid")?, row.text("schema")?);
    }
    if schemas.is_empty() {
        return Ok(());
    }
    let mut users: HashMap<(u32, u32), BTreeSet<&str>> = HashMap::new();
    for edge in edges.iter().filter(|e| e.to.class == class::PG_OPERATOR) {
        if let Some(schema) = schemas.get(&edge.to.object) {
            users.entry((edge.from.class, edge.from.object)).or_default().insert(schema);
        }
    }
    for draft in drafts.iter_mut().filter(|d| EXPRESSIONS.contains(&d.entry.kind.as_str())) {
        let rows = draft.also.iter().chain([&draft.address]);
        let path: BTreeSet<&str> = rows.filter_map(|a| users.get(&(a.class, a.object))).flatten().copied().collect();
        if path.is_empty() {
            continue;
        }
        with_path(&mut draft.entry.create, &path);
        if let Some(placeholder) = &mut draft.placeholder {
            with_path(&mut placeholder.complete, &path);
        }
    }
    Ok(())
}

fn with_path(statements: &mut Vec<Sql>, path: &BTreeSet<&str>) {
    let names: Vec<String> = path.iter().map(|s| ident(s)).collect();
    statements.insert(0, Sql::from(format!("SET search_path = {}", names.join(", "))));
    statements.push(Sql::from("SET search_path = ''"));
}
