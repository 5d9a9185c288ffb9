//! Whether a database is the one that a backup holds: entries one by one, rows by fingerprint.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::catalog::entry::Entry;
use super::catalog::extract::{self, TableInfo};
use super::connect::Target;
use super::copy::TableData;
use super::error;
use super::export::context;
use super::export::statements::READER;
use super::export::units::{Unit, units};
use super::restore::{RestoreInput, redact};
use super::session::Session;
use crate::base::clock::Stopwatch;
use crate::base::fingerprint::Fingerprint;
use crate::base::progress::SharedProgress;
use crate::base::shutdown::Shutdown;
use crate::base::sql::Sql;
use crate::base::{Error, Result};

/// A table whose rows are not those of the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataDifference {
    /// Id of the entry that creates the table.
    pub entry: String,
    /// What the backup holds.
    pub expected: Fingerprint,
    /// What the database holds; absent when it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Fingerprint>,
    /// Why it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How an object differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "difference")]
pub enum ObjectDifference {
    /// In the backup, not in the database.
    Missing {
        /// Id of the entry.
        entry: String,
    },
    /// In the database, not in the backup.
    Extra {
        /// Id of the entry.
        entry: String,
    },
    /// In both, not the same.
    Changed {
        /// Id of the entry.
        entry: String,
        /// Which part: `create`, `ownership`, `privileges`, `comments`, ….
        field: String,
        /// As in the backup; values that may be secrets are left out.
        expected: String,
        /// As in the database, likewise.
        found: String,
    },
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Tables compared.
    pub tables: u64,
    /// Rows read.
    pub rows: u64,
    /// Bytes of COPY text read.
    pub bytes: u64,
    /// Tables that differ.
    pub data: Vec<DataDifference>,
    /// Entries compared.
    pub objects: u64,
    /// Entries that differ.
    pub differences: Vec<ObjectDifference>,
    /// Wall-clock seconds.
    pub seconds: f64,
}

impl Comparison {
    /// Whether nothing differs.
    pub fn is_equal(&self) -> bool {
        self.data.is_empty() && self.differences.is_empty()
    }
}

impl ObjectDifference {
    /// Which part of the entry differs, where both sides have it.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Changed { field, .. } => Some(field),
            Self::Missing { .. } | Self::Extra { .. } => None,
        }
    }

    /// Id of the entry that differs.
    pub fn entry(&self) -> &str {
        match self {
            Self::Missing { entry } | Self::Extra { entry } | Self::Changed { entry, .. } => entry,
        }
    }
}

impl fmt::Display for ObjectDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { entry } => write!(f, "{entry} is missing"),
            Self::Extra { entry } => write!(f, "{entry} is not in the backup"),
            Self::Changed { entry, field, expected, found } => {
                write!(f, "{entry}: {field} differs: expected {expected}, found {found}")
            }
        }
    }
}

/// Compares the database of `target` with a backup: all objects, all rows, `jobs` tables at a time. Differences are results, not errors.
pub async fn compare(
    target: &Target,
    input: &RestoreInput,
    jobs: usize,
    progress: &SharedProgress,
    shutdown: &Shutdown,
) -> Result<Comparison> {
    shutdown.guard(run(target, input, jobs.max(1), progress)).await
}

async fn run(target: &Target, input: &RestoreInput, jobs: usize, progress: &SharedProgress) -> Result<Comparison> {
    let watch = Stopwatch::start();
    progress.stage("compare objects", None);
    let session = reader(target).await?;
    session.run("begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let cx = context(&session, target).await?;
    let found = extract::extract(session.client(), &cx).await?;
    session.run("end the transaction", "ROLLBACK").await?;
    let mut comparison = Comparison {
        objects: input.entries.len() as u64,
        differences: differences(&input.entries, &found.entries),
        ..Comparison::default()
    };
    rows(target, session, input, jobs, found.tables, progress, &mut comparison).await?;
    comparison.seconds = watch.elapsed().as_secs_f64();
    Ok(comparison)
}

async fn reader(target: &Target) -> Result<Session> {
    let session = target.connect_apart().await?;
    session.pin(READER).await?;
    Ok(session)
}

/// What is compared of one entry: each part by its name, as text, the database's name left out because a copy may have another. `show` gives each
/// statement as it is written into the text.
fn parts(entry: &Entry, show: impl Fn(&str) -> String) -> [(&'static str, String); 8] {
    let text = |list: &[Sql]| -> String {
        list.iter().map(|s| show(&s.render(str::to_owned, |_| "<database>".to_owned()))).collect::<Vec<_>>().join(";\n")
    };
    [
        ("phase", format!("{:?}", entry.phase)),
        ("parent", entry.parent.clone().unwrap_or_default()),
        ("owner", entry.owner.clone().unwrap_or_default()),
        ("create", text(&entry.create)),
        ("ownership", text(&entry.ownership)),
        ("privileges", text(&entry.privileges)),
        ("comments", text(&entry.comments)),
        ("labels", text(&entry.labels)),
    ]
}

/// The id, that of the database itself without its name.
fn identity(entry: &Entry) -> &str {
    if entry.kind == "database" { "database" } else { &entry.id }
}

/// Whether the order of the table's columns is not the backup's to keep: inherited columns come first in a table made with INHERITS, and
/// what is said column by column (comments, privileges, options, storage) follows them.
fn inherits(entry: &Entry) -> bool {
    entry.kind == "column_storage"
        || matches!(entry.kind.as_str(), "table" | "foreign_table")
            && entry.create.iter().any(|s| s.render(str::to_owned, str::to_owned).contains(" INHERITS ("))
}

/// What a list in SQL consists of, in any order.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces: Vec<&str> =
        text.split([',', '\n']).map(|p| p.trim().trim_end_matches(';')).filter(|p| !p.is_empty()).collect();
    pieces.sort_unstable();
    pieces
}

/// Compares entries by id.
fn differences(expected: &[Entry], found: &[Entry]) -> Vec<ObjectDifference> {
    let mut there: BTreeMap<&str, &Entry> = found.iter().map(|e| (identity(e), e)).collect();
    let mut all = Vec::new();
    for entry in expected {
        let Some(other) = there.remove(identity(entry)) else {
            all.push(ObjectDifference::Missing { entry: entry.id.clone() });
            continue;
        };
        let redacted = |e: &Entry| parts(e, |sql| redact(&e.kind, sql).into_owned());
        let shown = redacted(entry).into_iter().zip(redacted(other));
        let whole = parts(entry, str::to_owned).into_iter().zip(parts(other, str::to_owned));
        for (((_, a), (_, b)), ((field, expected), (_, found))) in whole.zip(shown) {
            if a != b && !(inherits(entry) && pieces(&a) == pieces(&b)) {
                all.push(ObjectDifference::Changed { entry: entry.id.clone(), field: field.to_owned(), expected, found });
            }
        }
    }
    all.extend(there.into_values().map(|e| ObjectDifference::Extra { entry: e.id.clone() }));
    all
}

type Queue = Arc<Mutex<VecDeque<Unit>>>;

/// What one table was found to hold, and why the rest of it could not be read.
#[derive(Debug, Default, Clone)]
struct Found {
    fingerprint: Fingerprint,
    error: Option<String>,
}

/// Reads all tables of the backup as the export reads them, large ones in ranges; the large objects, if any, are the last.
async fn rows(
    target: &Target,
    session: Session,
    input: &RestoreInput,
    jobs: usize,
    there: Vec<TableInfo>,
    progress: &SharedProgress,
    comparison: &mut Comparison,
) -> Result<()> {
    let (objects, tables): (Vec<&TableData>, Vec<&TableData>) = input.tables.iter().partition(|t| t.is_large_objects());
    let infos = infos(&tables, there);
    let access = if objects.is_empty() { None } else { Some(session.large_object_access().await?) };
    let ranges = if objects.is_empty() { Vec::new() } else { session.large_object_ranges().await? };
    drop(session);
    let all: Vec<&TableData> = tables.into_iter().chain(objects).collect();
    let units = units(&infos, &ranges, access, &input.source.encoding, jobs);
    comparison.tables = all.len() as u64;
    progress.stage("compare rows", Some(units.iter().map(Unit::weight).sum()));
    let found = read_units(target, jobs, units, all.len(), progress).await?;
    for (table, found) in all.into_iter().zip(found) {
        comparison.rows += found.fingerprint.rows;
        comparison.bytes += found.fingerprint.bytes;
        if found.error.is_some() || found.fingerprint != table.fingerprint {
            comparison.data.push(DataDifference {
                entry: table.entry.clone(),
                expected: table.fingerprint,
                found: found.error.is_none().then_some(found.fingerprint),
                error: found.error,
            });
        }
    }
    Ok(())
}

/// The backup's tables with their sizes in the target. One that the target lacks is asked for all the same, and the server's answer reported.
fn infos(tables: &[&TableData], there: Vec<TableInfo>) -> Vec<TableInfo> {
    let mut sizes: HashMap<(String, String), TableInfo> =
        there.into_iter().map(|t| ((t.schema.clone(), t.name.clone()), t)).collect();
    let info = |table: &&TableData| {
        let found = sizes.remove(&(table.schema.clone(), table.table.clone()));
        TableInfo {
            entry: table.entry.clone(),
            schema: table.schema.clone(),
            name: table.table.clone(),
            columns: table.columns.clone(),
            oid: found.as_ref().map_or(0, |t| t.oid),
            unlogged: found.as_ref().is_some_and(|t| t.unlogged),
            heap_bytes: found.as_ref().map_or(0, |t| t.heap_bytes),
            blocks: found.as_ref().map_or(0, |t| t.blocks),
            ranges: found.as_ref().is_some_and(|t| t.ranges),
            condition: found.and_then(|t| t.condition),
        }
    };
    tables.iter().map(info).collect()
}

async fn read_units(
    target: &Target,
    jobs: usize,
    units: Vec<Unit>,
    tables: usize,
    progress: &SharedProgress,
) -> Result<Vec<Found>> {
    let queue: Queue = Arc::new(Mutex::new(units.into()));
    let mut tasks: JoinSet<Result<Vec<(usize, Found)>>> = JoinSet::new();
    for _ in 0..jobs {
        let queue = Arc::clone(&queue);
        let (target, progress) = (target.clone(), Arc::clone(progress));
        tasks.spawn(async move {
            let session = reader(&target).await?;
            let mut done = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(unit) = next else { return Ok(done) };
                for piece in &unit.pieces {
                    done.push((piece.table, read_piece(&session, &piece.sql).await?));
                    progress.advance(piece.weight);
                }
            }
        });
    }
    let mut all = vec![Found::default(); tables];
    while let Some(result) = tasks.join_next().await {
        for (table, found) in result.map_err(|e| Error::internal("a reader ended unexpectedly").source(e))?? {
            let sum = all.get_mut(table).ok_or_else(|| Error::internal("a stream belongs to no table"))?;
            sum.fingerprint.merge(&found.fingerprint);
            sum.error = sum.error.take().or(found.error);
        }
    }
    Ok(all)
}

async fn read_piece(session: &Session, statement: &str) -> Result<Found> {
    let mut fingerprint = Fingerprint::default();
    match add_rows(session, statement, &mut fingerprint).await {
        Ok(()) => Ok(Found { fingerprint, error: None }),
        Err(failure) if session.is_closed() => Err(error::statement("read the copy", &failure)),
        Err(failure) => Ok(Found { fingerprint, error: Some(error::sentence(&failure)) }),
    }
}

async fn add_rows(session: &Session, statement: &str, fingerprint: &mut Fingerprint) -> Result<(), tokio_postgres::Error> {
    let mut copy = session.copy_out(&[statement]);
    while let Some(rows) = copy.next().await? {
        rows.for_each(|row| fingerprint.add(row));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::catalog::entry::{Phase, Scope};

    fn entry(kind: &str, name: &str, create: Sql) -> Entry {
        let mut e = Entry::new(kind, Scope::Object, Phase::Pre, None, name, name);
        e.create = vec![create];
        e
    }

    #[test]
    fn differences_name_entry_and_field_and_forgive_another_database_name() {
        let expected = [
            entry("database", "a", Sql::from("CREATE DATABASE ").database("a")),
            entry("table", "same", "CREATE TABLE same ()".into()),
            entry("table", "changed", "CREATE TABLE changed (x int)".into()),
            entry("table", "gone", "CREATE TABLE gone ()".into()),
        ];
        let found = [
            entry("database", "b", Sql::from("CREATE DATABASE ").database("b")),
            entry("table", "same", "CREATE TABLE same ()".into()),
            entry("table", "changed", "CREATE TABLE changed (x text)".into()),
            entry("table", "new", "CREATE TABLE new ()".into()),
        ];
        let lines: Vec<String> = differences(&expected, &found).iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(
            lines[0],
            "table changed: create differs: expected CREATE TABLE changed (x int), found CREATE TABLE changed (x text)"
        );
        assert_eq!(lines[1], "table gone is missing");
        assert_eq!(lines[2], "table new is not in the backup");
    }

    #[test]
    fn columns_of_a_child_may_change_places_and_nothing_else() {
        let table = |columns: &str, parents: &str| {
            [entry("table", "child", format!("CREATE TABLE child (\n    {columns}\n){parents}").into())]
        };
        let child = |columns| table(columns, " INHERITS (parent)");
        assert_eq!(differences(&child("a int,\n    b text"), &child("b text,\n    a int")), []);
        assert_eq!(differences(&child("a int,\n    b text"), &child("b text,\n    a bigint")).len(), 1);
        assert_eq!(differences(&child("a int,\n    b text"), &child("a int")).len(), 1);
        assert_eq!(differences(&table("a int,\n    b text", ""), &table("b text,\n    a int", "")).len(), 1);
    }

    #[test]
    fn options_of_user_mappings_differ_without_being_shown() {
        let mapping = |password: &str| {
            let text = format!("CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (password '{password}')");
            [entry("user_mapping", "m", text.into())]
        };
        let found = differences(&mapping("first"), &mapping("second"));
        assert_eq!(found.len(), 1);
        let line = found[0].to_string();
        assert!(line.contains("OPTIONS (password …") && !line.contains("first") && !line.contains("second"), "{line}");
    }
}
