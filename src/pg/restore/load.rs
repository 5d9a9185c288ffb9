//! Rows back into tables: streams in parallel, several into one large table, each counted against what the backup says.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::task::JoinSet;

use super::ledger::Ledger;
use super::outcome::{Part, TableMismatch};
use super::references::order;
use super::run::Work;
use super::statements::{lost, writer};
use crate::base::sql::{ident, qualified};
use crate::base::{Error, Kind, Result, ResultExt};
use crate::pg::copy::{TableData, TableStream, encoded};
use crate::pg::large_objects::{COPY_SCRATCH, MAKE_SCRATCH};
use crate::pg::session::Session;

/// Pages of large objects that are put into the scratch table before they are written: their memory and disk on the server.
const SCRATCH_BYTES: u64 = 32 << 20;

/// One stream to load.
struct Task {
    table: usize,
    stream: TableStream,
}

/// Loads all streams of `tables`. Errors of single streams, damaged and missing parts among them, are in the
/// ledger; a vault or server that does not answer ends everything.
pub(super) async fn load_all(work: &Arc<Work>, tables: Vec<TableData>) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let tables = Arc::new(tables);
    let counts: Counts = Arc::default();
    let first = Loader::connect(work, &tables, &counts).await?;
    if work.silence && !first.silent {
        work.ledger
            .warn("triggers and foreign keys were active while rows were loaded: our role may not silence them".to_owned());
    }
    let ordered = if first.silent { Vec::new() } else { order(&tables, &first.session.references().await?) };
    let queue = ordered.iter().flat_map(|table| tasks(&tables, *table)).collect();
    run(work, &tables, &counts, queue, 1).await?;
    let done: HashSet<usize> = ordered.into_iter().collect();
    let mut rest: Vec<Task> = (0..tables.len()).filter(|i| !done.contains(i)).flat_map(|i| tasks(&tables, i)).collect();
    rest.sort_by(|a, b| b.stream.fingerprint.bytes.cmp(&a.stream.fingerprint.bytes).then(a.stream.stream.cmp(&b.stream.stream)));
    run(work, &tables, &counts, rest.into(), work.jobs).await?;
    let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    compare_counts(&work.ledger, &tables, &counts);
    Ok(())
}

fn tasks(tables: &[TableData], table: usize) -> impl Iterator<Item = Task> {
    tables[table].streams.iter().map(move |s| Task { table, stream: s.clone() })
}

/// Works through `queue` on at most `jobs` sessions, in its order.
async fn run(work: &Arc<Work>, tables: &Arc<Vec<TableData>>, counts: &Counts, queue: VecDeque<Task>, jobs: usize) -> Result<()> {
    let jobs = jobs.min(queue.len());
    let queue = Arc::new(Mutex::new(queue));
    let mut workers: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..jobs {
        let (work, queue, tables, counts) = (Arc::clone(work), Arc::clone(&queue), Arc::clone(tables), Arc::clone(counts));
        workers.spawn(async move {
            let mut loader = Loader::connect(&work, &tables, &counts).await?;
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(task) = next else { return Ok(()) };
                loader.load(&task).await?;
            }
        });
    }
    while let Some(result) = workers.join_next().await {
        result.map_err(|e| Error::internal("a loader ended unexpectedly").source(e))??;
    }
    Ok(())
}

fn compare_counts(ledger: &Ledger, tables: &[TableData], counts: &HashMap<usize, u64>) {
    let mut mismatches: BTreeMap<String, TableMismatch> = BTreeMap::new();
    for (index, table) in tables.iter().enumerate() {
        let (expected, loaded) = (table.fingerprint.rows, counts.get(&index).copied().unwrap_or(0));
        if expected != loaded {
            let name = format!("{} {}", table.entry, qualified(&table.schema, &table.table));
            mismatches.insert(name, TableMismatch { entry: table.entry.clone(), expected, loaded });
        }
    }
    ledger.with(|o| o.mismatches.extend(mismatches.into_values()));
}

/// Rows that the server took, by table.
type Counts = Arc<Mutex<HashMap<usize, u64>>>;

/// One session that loads streams.
struct Loader {
    work: Arc<Work>,
    tables: Arc<Vec<TableData>>,
    counts: Counts,
    session: Session,
    /// Whether triggers and foreign keys are silent in the session.
    silent: bool,
}

impl Loader {
    async fn connect(work: &Arc<Work>, tables: &Arc<Vec<TableData>>, counts: &Counts) -> Result<Self> {
        let session = work.session(writer(&work.target).await?);
        let silent = work.silence && session.silence_triggers().await?;
        Ok(Self { work: Arc::clone(work), tables: Arc::clone(tables), counts: Arc::clone(counts), session, silent })
    }

    /// Loads one stream and counts the rows that the server took.
    async fn load(&mut self, task: &Task) -> Result<()> {
        let (work, stream) = (&self.work, &task.stream);
        let table = &self.tables[task.table];
        if work.ledger.is_lost(&table.entry) {
            work.progress.advance(stream.fingerprint.bytes);
            return Ok(());
        }
        let statement = if table.is_large_objects() { COPY_SCRATCH.to_owned() } else { encoded(&copy_in(table), &work.encoding) };
        let loaded = if table.is_large_objects() {
            load_objects(work, &self.session, stream).await
        } else {
            load_rows(work, &self.session, &statement, stream).await
        };
        let fail = |message| work.ledger.fail_with(&table.entry, Part::Rows, &statement, None, message);
        match loaded {
            Ok(rows) => {
                work.ledger.loaded(rows, stream.fingerprint.bytes);
                *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(task.table).or_default() += rows;
            }
            // One damaged or missing part must not keep the other tables from coming back: without those rows the table is reported.
            Err(Failed::Vault(error)) if matches!(error.kind(), Kind::Integrity | Kind::NotFound) => fail(error.full_message()),
            Err(Failed::Vault(error)) => return Err(error),
            Err(Failed::Server(failure)) if failure.as_db_error().is_none() => return Err(lost(&self.session)),
            Err(Failed::Server(failure)) => {
                work.ledger.fail(&table.entry, Part::Rows, &statement, &failure);
                // A COPY that the server refuses at its beginning costs the driver its place in the protocol, and the session with it.
                *self = Self::connect(&self.work, &self.tables, &self.counts).await?;
            }
            Err(Failed::Other(error)) if self.session.is_closed() => return Err(error),
            Err(Failed::Other(error)) => fail(error.full_message()),
        }
        Ok(())
    }
}

enum Failed {
    Vault(Error),
    Server(tokio_postgres::Error),
    Other(Error),
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

async fn load_rows(work: &Work, session: &Session, statement: &str, stream: &TableStream) -> Result<u64, Failed> {
    let mut rows = open(work, stream).await?;
    let sink = session.client().copy_in::<_, Bytes>(statement).await?;
    let mut sink = std::pin::pin!(sink);
    while let Some(piece) = rows.next().await {
        let piece = piece.map_err(Failed::Vault)?;
        work.progress.advance(piece.len() as u64);
        if let Err(closed) = sink.send(piece).await {
            // The server has refused a row; what it said comes with the end.
            return Err(Failed::Server(sink.as_mut().finish().await.err().unwrap_or(closed)));
        }
    }
    Ok(sink.as_mut().finish().await?)
}

async fn load_objects(work: &Work, session: &Session, stream: &TableStream) -> Result<u64, Failed> {
    let mut rows = open(work, stream).await?;
    session.run("make a scratch table", MAKE_SCRATCH).await.map_err(Failed::Other)?;
    let mut total = 0;
    let mut ended = false;
    while !ended {
        let sink = session.client().copy_in::<_, Bytes>(COPY_SCRATCH).await?;
        let mut sink = std::pin::pin!(sink);
        let mut bytes = 0;
        while bytes < SCRATCH_BYTES {
            let Some(piece) = rows.next().await else {
                ended = true;
                break;
            };
            let piece = piece.map_err(Failed::Vault)?;
            bytes += piece.len() as u64;
            work.progress.advance(piece.len() as u64);
            if let Err(closed) = sink.send(piece).await {
                return Err(Failed::Server(sink.as_mut().finish().await.err().unwrap_or(closed)));
            }
        }
        sink.as_mut().finish().await?;
        total += session.write_large_objects().await.map_err(Failed::Other)?;
    }
    Ok(total)
}

async fn open(work: &Work, stream: &TableStream) -> Result<futures::stream::BoxStream<'static, Result<Bytes>>, Failed> {
    work.source.open(&stream.stream).await.context(|| format!("open stream {}", stream.stream)).map_err(Failed::Vault)
}

/// The statement that takes rows as the export wrote them.
fn copy_in(table: &TableData) -> String {
    let name = qualified(&table.schema, &table.table);
    if table.columns.is_empty() {
        return format!("COPY {name} FROM STDIN");
    }
    let columns = table.columns.iter().map(|c| ident(c)).collect::<Vec<_>>().join(", ");
    format!("COPY {name} ({columns}) FROM STDIN")
}
