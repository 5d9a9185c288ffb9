//! One database as entries and streams, all of one snapshot.
//!
//! One session locks all tables, takes the snapshot, and reads all definitions; others import the snapshot and read the rows. See `locks`
//! for why a table can never read as empty, and `worker` for why nobody waits for us longer than a table takes.
//!
//! Definitions are partly read by functions such as `pg_get_viewdef`, which look at the present and not at the snapshot. The locks keep tables
//! as they are; for everything else the catalogs are compared before and after, and read again if they changed.

mod locks;
pub(crate) mod names;
pub(crate) mod statements;
pub(crate) mod units;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use self::locks::{Lockable, Patience, lock_all};
use self::names::Pattern;
use self::statements::{READER, Snapshot};
use self::worker::Done;
use super::catalog::entry::Entry;
use super::catalog::extract::{self, Gathered, TableInfo};
use super::catalog::kind::Context;
use super::connect::Target;
use super::copy::{Sink, TableData};
use super::facts::ServerFacts;
use super::large_objects;
use super::session::Session;
use super::version::Version;
use crate::base::clock::{Clock, SharedClock};
use crate::base::fingerprint::Fingerprint;
use crate::base::progress::SharedProgress;
use crate::base::retry::Backoff;
use crate::base::shutdown::Shutdown;
use crate::base::threads::blocking;
use crate::base::{Error, Result};

/// How often the catalogs are read again because they changed under us; afterwards the last reading counts, with a warning.
const CATALOG_TRIES: u32 = 3;
/// How long the second reader of definitions waits for a lock before it leaves the rest to the first.
const HELPER_LOCK_WAIT: Duration = Duration::from_secs(1);
/// How often everything begins again because tables came and went between locks and snapshot, or a definition was locked.
const SNAPSHOT_TRIES: u32 = 8;

/// What to export and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// Connections that read rows at the same time, at least 1.
    pub jobs: usize,
    /// Tables whose rows are left out, as `schema.table` with `*` for any characters.
    pub exclude_table_data: Vec<String>,
    /// Whether objects that no kind covers are only reported; otherwise they fail the export.
    pub allow_unmodeled: bool,
}

/// One exported database; its rows went to the sink, its objects became a `T`.
#[derive(Debug, Clone, PartialEq)]
pub struct Export<T = Vec<Entry>> {
    /// The server and database.
    pub facts: ServerFacts,
    /// Name of the database.
    pub database: String,
    /// Its size on the server's disk, in bytes.
    pub database_bytes: u64,
    /// The server's clock when the snapshot was taken: whatever was committed before is in it.
    pub consistent_at: Timestamp,
    /// What was made of all objects.
    pub entries: T,
    /// All tables whose rows were read, in order of schema and name; large objects are the last of them
    /// ([`TableData::is_large_objects`]).
    pub tables: Vec<TableData>,
    /// Objects that no kind covers.
    pub unmodeled: Vec<String>,
    /// What the reader of the backup should know.
    pub warnings: Vec<String>,
}

/// What all databases of a server share.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterExport {
    /// The server.
    pub facts: ServerFacts,
    /// Roles, memberships, tablespaces, in restore order.
    pub entries: Vec<Entry>,
    /// What the reader of the backup should know, such as passwords that may not be read.
    pub warnings: Vec<String>,
}

/// Exports the database of `target`; rows go to `sink`. Meanwhile `describe` gets all objects, in restore order, on a thread that may block.
pub async fn export<T: Send + 'static>(
    target: &Target,
    options: &ExportOptions,
    describe: impl FnOnce(Vec<Entry>) -> Result<T> + Send + 'static,
    sink: Arc<dyn Sink>,
    progress: &SharedProgress,
    shutdown: &Shutdown,
    clock: &SharedClock,
) -> Result<Export<T>> {
    shutdown.guard(run(target, options, describe, sink, progress, shutdown, &**clock)).await
}

/// Exports roles, memberships and tablespaces of the server of `target`.
pub async fn export_cluster(target: &Target) -> Result<ClusterExport> {
    let session = target.connect().await?;
    session.pin(READER).await?;
    let facts = session.facts().await?;
    session.begin_reading().await?;
    let cx = context(&session, target).await?;
    let catalog = extract::extract_cluster(session.client(), &cx).await?;
    session.end_reading().await?;
    Ok(ClusterExport { facts, entries: catalog.entries, warnings: catalog.warnings })
}

async fn run<T: Send + 'static>(
    target: &Target,
    options: &ExportOptions,
    describe: impl FnOnce(Vec<Entry>) -> Result<T> + Send + 'static,
    sink: Arc<dyn Sink>,
    progress: &SharedProgress,
    shutdown: &Shutdown,
    clock: &dyn Clock,
) -> Result<Export<T>> {
    progress.stage("catalog", None);
    let (holder, reader) = tokio::try_join!(connect(target), connect(target))?;
    let Reading { facts, database_bytes, snapshot, catalog } = read_catalog(&holder, &reader, target, clock, shutdown).await?;
    let Gathered { objects, tables, unmodeled, mut warnings } = catalog;
    refuse_unmodeled(&unmodeled, options.allow_unmodeled)?;
    let tables = without_data(tables, &options.exclude_table_data, &mut warnings);
    let large_objects = holder.large_object_ranges().await?;
    let access = if large_objects.is_empty() { None } else { Some(holder.large_object_access().await?) };
    let units = units::units(&tables, &large_objects, access, &facts.encoding, options.jobs);

    progress.stage("rows", Some(units.iter().map(units::Unit::weight).sum()));
    let readers = readers(target, reader, options.jobs.min(units.len()), &snapshot, &mut warnings).await?;
    let described = blocking(move || describe(objects.in_order()?));
    let (done, entries) = tokio::try_join!(worker::read_all(&holder, readers, units, sink, progress), described)?;
    Ok(Export {
        database: target.database().to_owned(),
        database_bytes,
        consistent_at: snapshot.at,
        tables: table_data(&tables, !large_objects.is_empty(), done)?,
        entries,
        unmodeled,
        facts,
        warnings,
    })
}

async fn connect(target: &Target) -> Result<Session> {
    let session = target.connect_apart().await?;
    session.pin(READER).await?;
    Ok(session)
}

/// What kinds may know of the database of `target`, in which `session` is.
pub(in crate::pg) async fn context(session: &Session, target: &Target) -> Result<Context> {
    Ok(Context {
        version: session.version(),
        database: target.database().to_owned(),
        reads_passwords: session.reads_passwords().await?,
        reads_connections: session.reads_connections().await?,
    })
}

/// What was read before the rows.
struct Reading {
    facts: ServerFacts,
    database_bytes: u64,
    snapshot: Snapshot,
    catalog: Gathered,
}

/// Takes locks and snapshot and reads the definitions, again if they moved meanwhile. Leaves `holder` in the snapshot's transaction.
async fn read_catalog(
    holder: &Session,
    other: &Session,
    target: &Target,
    clock: &dyn Clock,
    shutdown: &Shutdown,
) -> Result<Reading> {
    let backoff = Backoff { tries: SNAPSHOT_TRIES, first: Duration::from_millis(100), max: Duration::from_secs(5) };
    let (mut changed, mut failed, mut database_bytes) = (0, 0, None);
    loop {
        shutdown.check()?;
        let error = match read_once(holder, other, &mut database_bytes, target, clock, shutdown).await {
            Ok((mut reading, stable)) => {
                changed += u32::from(!stable);
                if stable || changed >= CATALOG_TRIES {
                    if !stable {
                        reading
                            .catalog
                            .warnings
                            .push("definitions changed while they were read: some may be newer than the rows".to_owned());
                    }
                    return Ok(reading);
                }
                None
            }
            Err(error) if error.kind().retryable() && !holder.is_closed() => Some(error),
            Err(error) => return Err(error),
        };
        failed += 1;
        // Ends a failed transaction, too; outside of one it does nothing.
        holder.end_reading().await?;
        if let Some(error) = error {
            if failed >= backoff.tries || error.message().contains("could not be locked") {
                return Err(error);
            }
            tracing::info!(%error, failed, "reading the catalogs again");
        }
        clock.sleep(backoff.pause(failed)).await;
    }
}

/// One try. The flag says whether no definition changed meanwhile. `bytes` is the database's size once it is known: to ask for it takes as long as to
/// lock all tables.
async fn read_once(
    holder: &Session,
    other: &Session,
    bytes: &mut Option<u64>,
    target: &Target,
    clock: &dyn Clock,
    shutdown: &Shutdown,
) -> Result<(Reading, bool)> {
    let size = async {
        match *bytes {
            Some(bytes) => Ok(bytes),
            None => other.database_bytes().await,
        }
    };
    let ((facts, snapshot), database_bytes) = tokio::try_join!(lock_and_take_snapshot(holder, clock, shutdown), size)?;
    *bytes = Some(database_bytes);
    let cx = context(holder, target).await?;
    other.begin_at(&snapshot).await?;
    // It has none of the holder's locks: behind a migration that waits for those it would wait for ever. ROLLBACK takes the limit back.
    other.limit_lock_waits(HELPER_LOCK_WAIT).await?;
    let (before, catalog) = tokio::join!(other.definitions_stamp(), extract::gather(holder.client(), Some(other.client()), &cx));
    other.end_reading().await?;
    let (before, mut catalog) = (before?, catalog?);
    let stable = other.definitions_stamp().await? == before;
    if facts.version.major() > Version::NEWEST_TESTED {
        catalog.warnings.push(format!(
            "PostgreSQL {} is newer than the newest that this release was tested with ({})",
            facts.version.major(),
            Version::NEWEST_TESTED
        ));
    }
    Ok((Reading { facts, database_bytes, snapshot, catalog }, stable))
}

/// Leaves `holder` in the snapshot's transaction, with locks on all tables that the snapshot shows.
async fn lock_and_take_snapshot(holder: &Session, clock: &dyn Clock, shutdown: &Shutdown) -> Result<(ServerFacts, Snapshot)> {
    holder.check_readable().await?;
    let facts = holder.facts().await?;
    let tables = holder.lockable().await?;
    holder.begin_reading().await?;
    lock_all(holder, tables, Patience::DEFAULT, clock, shutdown).await?;
    let snapshot = holder.take_snapshot().await?;
    let late = holder.unlocked().await?;
    let mut moved = None;
    if !late.is_empty() {
        lock_all(holder, late, Patience::DEFAULT, clock, shutdown).await?;
        moved = holder.unlocked().await?.first().map(Lockable::sql);
    }
    if moved.is_none() {
        moved = holder.rewritten().await?;
    }
    match moved {
        None => Ok((facts, snapshot)),
        Some(name) => Err(Error::unavailable(format!("table {name} was made or changed while the snapshot was taken"))
            .hint("schedule the backup outside of migrations")),
    }
}

fn refuse_unmodeled(unmodeled: &[String], allowed: bool) -> Result<()> {
    if unmodeled.is_empty() || allowed {
        return Ok(());
    }
    let shown: Vec<&str> = unmodeled.iter().take(5).map(String::as_str).collect();
    let more = if unmodeled.len() > 5 { format!(" and {} more", unmodeled.len() - 5) } else { String::new() };
    Err(Error::unsupported(format!("the database holds objects that this release cannot export: {}{more}", shown.join("; ")))
        .hint("set allow_unmodeled = true in the policy to back up everything else; the list is then part of each backup"))
}

/// Leaves out the tables whose rows are not wanted, and says so.
fn without_data(tables: Vec<TableInfo>, patterns: &[String], warnings: &mut Vec<String>) -> Vec<TableInfo> {
    let mut kept = tables;
    for pattern in patterns.iter().map(|p| Pattern::new(p)) {
        let before = kept.len();
        kept.retain(|t| {
            let excluded = pattern.matches(&t.schema, &t.name);
            if excluded {
                warnings.push(format!("rows of table {}.{} are not in the backup (exclude_table_data)", t.schema, t.name));
            }
            !excluded
        });
        if kept.len() == before {
            warnings.push(format!("exclude_table_data '{}' matches no table with rows", pattern.text()));
        }
    }
    kept
}

/// Opens the readers; where the server has no connection left for all of them, fewer do the work.
async fn readers(
    target: &Target,
    first: Session,
    jobs: usize,
    snapshot: &Snapshot,
    warnings: &mut Vec<String>,
) -> Result<Vec<Session>> {
    let mut sessions = vec![first];
    for _ in 1..jobs.max(1) {
        match connect(target).await {
            Ok(session) => sessions.push(session),
            Err(error) if error.kind().retryable() => {
                warnings.push(format!("only {} of {jobs} jobs could connect: {}", sessions.len(), error.message()));
                break;
            }
            Err(error) => return Err(error),
        }
    }
    for session in &sessions {
        session.begin_at(snapshot).await?;
    }
    Ok(sessions)
}

/// Puts the streams together by table, in the order of the tables.
fn table_data(tables: &[TableInfo], objects: bool, done: Vec<Done>) -> Result<Vec<TableData>> {
    let mut all: Vec<TableData> = tables
        .iter()
        .map(|t| TableData {
            entry: t.entry.clone(),
            schema: t.schema.clone(),
            table: t.name.clone(),
            columns: t.columns.clone(),
            streams: Vec::new(),
            fingerprint: Fingerprint::default(),
            heap_bytes: t.heap_bytes,
        })
        .collect();
    if objects {
        all.push(TableData {
            entry: TableData::LARGE_OBJECTS.to_owned(),
            schema: "pg_catalog".to_owned(),
            table: "pg_largeobject".to_owned(),
            columns: large_objects::COLUMNS.map(str::to_owned).to_vec(),
            streams: Vec::new(),
            fingerprint: Fingerprint::default(),
            heap_bytes: 0,
        });
    }
    for (index, stream) in done {
        let table = all.get_mut(index).ok_or_else(|| Error::internal("a stream belongs to no table"))?;
        table.fingerprint.merge(&stream.fingerprint);
        table.streams.push(stream);
    }
    for table in &mut all {
        if table.streams.is_empty() {
            return Err(Error::integrity(format!("table {}.{} was not read", table.schema, table.table)));
        }
        table.streams.sort_by_key(|s| s.from_block);
    }
    Ok(all)
}
