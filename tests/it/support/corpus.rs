//! Round trips of small databases: `tests/corpus/<kind>--<case>/schema.sql` is loaded, extracted, made again in an empty database from
//! the entries alone, and `pg_dump` must print the same text for both, rows included, and their catalogs must be alike.
//!
//! Lines `-- next` separate batches that run in transactions of their own. A batch may begin with `-- from: 17` (the oldest major that can
//! run it); where the first cannot run, the case is left out. A case may begin with `-- needs: labels`: it runs where a provider of labels is
//! loaded. The roles are [`ROLES`]. A line `-- entry: ID` names an entry that must be read, for what `pg_dump` would not miss.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use pgkeep::base::sql::{Sql, ident, qualified};
use pgkeep::pg::catalog::entry::{Entry, Phase, Scope};
use pgkeep::pg::catalog::extract::{Catalog, TableInfo, extract};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::catalogs;
use super::server::{Database, LABELLED_MAJORS, Server};

/// Roles that cases may use.
pub(crate) const ROLES: &[&str] = &["corpus_owner", "corpus_reader", "corpus_writer", "Corpus \"odd\" role"];

/// One case of the corpus.
pub(crate) struct Case {
    pub(crate) name: String,
    labels: bool,
    batches: Vec<Batch>,
    entries: Vec<String>,
}

struct Batch {
    from: u32,
    sql: String,
}

/// All cases whose kind (the part before `--`) passes `wanted`; `PGKEEP_TEST_CORPUS` narrows them to names that contain it.
pub(crate) fn cases(wanted: impl Fn(&str) -> bool) -> Vec<Case> {
    let only = std::env::var("PGKEEP_TEST_CORPUS").unwrap_or_default();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut folders: Vec<PathBuf> = fs::read_dir(&root).expect("tests/corpus").map(|e| e.expect("folder").path()).collect();
    folders.sort();
    let cases: Vec<Case> = folders
        .iter()
        .map(|folder| read(folder))
        .filter(|case| wanted(case.name.split("--").next().unwrap_or_default()) && case.name.contains(&only))
        .collect();
    assert!(!cases.is_empty(), "no case of the corpus was selected");
    cases
}

fn read(folder: &Path) -> Case {
    let name = folder.file_name().expect("folder name").to_string_lossy().into_owned();
    let text = fs::read_to_string(folder.join("schema.sql")).unwrap_or_else(|e| panic!("{name}/schema.sql: {e}"));
    let batch = |sql: &str| {
        let from = sql.lines().next().and_then(|l| l.strip_prefix("-- from: ")).map_or(0, |v| v.trim().parse().expect("major"));
        Batch { from, sql: sql.to_owned() }
    };
    let labels = text.starts_with("-- needs: labels\n");
    let entries = text.lines().filter_map(|l| l.strip_prefix("-- entry: ").map(str::to_owned)).collect();
    Case { name, labels, entries, batches: text.split("\n-- next\n").map(batch).collect() }
}

/// Makes the corpus roles, and the tablespace `corpus_space`, on a server; other tests may be doing the same.
pub(crate) async fn make_roles(server: &Server) {
    let client = server.connect("postgres").await;
    client.batch_execute("SET allow_in_place_tablespaces = on").await.expect("in-place tablespaces");
    let statements = ROLES.iter().map(|role| format!("CREATE ROLE {}", ident(role)));
    for statement in statements.chain(["CREATE TABLESPACE corpus_space LOCATION ''".to_owned()]) {
        let Err(error) = client.batch_execute(&statement).await else { continue };
        let exists = matches!(error.code().map(SqlState::code), Some("42710" | "23505"));
        assert!(exists, "{statement}: {error:?}");
    }
}

/// Runs one case on one server; the error is what differs or failed.
pub(crate) async fn round_trip(server: &Server, case: &Case) -> Result<(), String> {
    if server.major < case.batches[0].from || (case.labels && !LABELLED_MAJORS.contains(&server.major)) {
        return Ok(());
    }
    let original = server.database("source").await;
    let copy = server.database("copy").await;
    let result = compare(case, &original, &copy).await;
    original.remove().await;
    copy.remove().await;
    result.map_err(|e| format!("{} on PostgreSQL {}: {e}", case.name, server.major))
}

async fn compare(case: &Case, original: &Database, copy: &Database) -> Result<(), String> {
    let client = original.connect().await;
    for batch in case.batches.iter().filter(|b| b.from <= original.server.major) {
        client.batch_execute(&batch.sql).await.map_err(|e| format!("loading the case failed: {e:?}"))?;
    }
    drop(client);
    let catalog = read_catalog(original).await?;
    if !catalog.unmodeled.is_empty() {
        return Err(format!("not modelled: {:?}", catalog.unmodeled));
    }
    if let Some(id) = case.entries.iter().find(|id| catalog.entries.iter().all(|e| e.id != **id)) {
        return Err(format!("no entry {id} was read"));
    }
    restore(&catalog, original, copy).await?;
    let (expected, found) = (original.server.pg_dump(&original.name, &[]), copy.server.pg_dump(&copy.name, &[]));
    if expected != found {
        return Err(format!("pg_dump differs:\n{}", difference(&expected, &found)));
    }
    let (expected, found) = (index_states(original).await?, index_states(copy).await?);
    if expected != found {
        return Err(format!("validity of indexes differs:\n{}", difference(&expected, &found)));
    }
    let catalogs = catalogs::differences(original, copy).await;
    if !catalogs.is_empty() {
        return Err(format!("the catalogs differ:\n{}", catalogs.join("\n")));
    }
    let again = read_catalog(copy).await?;
    let differences = differing_entries(&catalog.entries, &again.entries);
    if differences.is_empty() { Ok(()) } else { Err(format!("entries of the copy differ:\n{}", differences.join("\n"))) }
}

/// Whether each index is valid, which `pg_dump` does not tell of those of partitioned tables.
async fn index_states(database: &Database) -> Result<String, String> {
    let text = "SELECT indexrelid::regclass || ' ' || indisvalid FROM pg_index WHERE indexrelid >= 16384 AND indrelid >= 16384
                   AND indexrelid IN (SELECT oid FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace) ORDER BY 1";
    let rows = database.connect().await.query(text, &[]).await.map_err(|e| e.to_string())?;
    Ok(rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n"))
}

/// The catalog of a database, read in a snapshot as an export reads it.
pub(crate) async fn read_catalog(database: &Database) -> Result<Catalog, String> {
    let client = database.connect().await;
    client
        .batch_execute(
            "SET search_path = ''; SET row_security = off; SET DateStyle = ISO; SET IntervalStyle = postgres; SET extra_float_digits = 3;
             BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        )
        .await
        .map_err(|e| e.to_string())?;
    extract(&client, &database.context().await).await.map_err(|e| format!("extract: {e:?}"))
}

/// Makes everything of `catalog` in the empty database `copy`: objects in order, rows between the phases, privileges last, as a restore
/// does, and after them what reads tables as their owner.
pub(crate) async fn restore(catalog: &Catalog, original: &Database, copy: &Database) -> Result<(), String> {
    let (from, to) = (original.connect().await, copy.connect().await);
    to.batch_execute("SET check_function_bodies = off; SET search_path = ''; SET client_min_messages = warning")
        .await
        .map_err(|e| e.to_string())?;
    let entries: Vec<&Entry> = catalog.entries.iter().filter(|e| e.scope == Scope::Object).collect();
    let refreshes = |e: &&&Entry| e.kind == "materialized_view_data";
    let run = async |sql: &Sql, entry: &Entry| {
        let text = sql.render(str::to_owned, |_| copy.name.clone());
        to.batch_execute(&text).await.map_err(|e| format!("{}: {text}\n  {e:?}", entry.id))
    };
    for phase in [Phase::Pre, Phase::Data, Phase::Post] {
        if phase == Phase::Data {
            for table in &catalog.tables {
                copy_rows(&from, &to, table).await?;
            }
        }
        for entry in entries.iter().filter(|e| e.phase == phase).filter(|e| !refreshes(e)) {
            for sql in entry.create.iter().chain(&entry.ownership).chain(&entry.comments).chain(&entry.labels) {
                run(sql, entry).await?;
            }
        }
    }
    for entry in &entries {
        for sql in &entry.privileges {
            run(sql, entry).await?;
        }
    }
    for entry in entries.iter().filter(refreshes) {
        for sql in &entry.create {
            run(sql, entry).await?;
        }
    }
    Ok(())
}

async fn copy_rows(from: &Client, to: &Client, table: &TableInfo) -> Result<(), String> {
    let name = qualified(&table.schema, &table.name);
    let columns = table.columns.iter().map(|c| ident(c)).collect::<Vec<_>>().join(", ");
    let failed = |e: tokio_postgres::Error| format!("rows of {name}: {e:?}");
    let source = match &table.condition {
        Some(condition) => format!("COPY (SELECT {columns} FROM ONLY {name} {condition}) TO STDOUT"),
        None if table.columns.is_empty() => return Ok(()),
        None => format!("COPY {name} ({columns}) TO STDOUT"),
    };
    let mut rows = Box::pin(from.copy_out(&source).await.map_err(failed)?);
    let sink = to.copy_in::<_, Bytes>(&format!("COPY {name} ({columns}) FROM STDIN")).await.map_err(failed)?;
    let mut sink = Box::pin(sink);
    while let Some(data) = rows.next().await {
        sink.send(data.map_err(failed)?).await.map_err(failed)?;
    }
    sink.as_mut().finish().await.map_err(failed)?;
    Ok(())
}

fn differing_entries(expected: &[Entry], found: &[Entry]) -> Vec<String> {
    let of = |entries: &[Entry]| -> BTreeMap<String, Entry> {
        entries.iter().filter(|e| e.scope == Scope::Object).map(|e| (e.id.clone(), e.clone())).collect()
    };
    let (expected, found) = (of(expected), of(found));
    let mut differences = Vec::new();
    for (id, entry) in &expected {
        match found.get(id) {
            None => differences.push(format!("missing: {id}")),
            Some(other) if other != entry => differences.push(format!("expected {entry:#?}\nfound {other:#?}")),
            Some(_) => {}
        }
    }
    differences.extend(found.keys().filter(|id| !expected.contains_key(*id)).map(|id| format!("extra: {id}")));
    differences
}

/// Lines of only one of two texts, with the lines before them.
pub(crate) fn difference(expected: &str, found: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let end = end.min(a.len() - start).min(b.len() - start);
    let marked = |mark: &str, lines: &[&str]| lines.iter().take(60).map(|l| format!("{mark} {l}")).collect::<Vec<_>>().join("\n");
    [
        marked(" ", &a[start.saturating_sub(8)..start]),
        marked("-", &a[start..a.len() - end]),
        marked("+", &b[start..b.len() - end]),
    ]
    .join("\n")
}
