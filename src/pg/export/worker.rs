//! Readers of rows: each takes the heaviest unit that is left, until none is.
//!
//! A reader takes its own lock of the tables it reads, at once or not at all: behind a migration that already waits for us it would wait for
//! ever, and the migration with it. Such a unit goes to the session that has held all locks since before the snapshot and needs no new one.
//! When every unit is locked by its reader or done, that session ends, and tables that are done are free for others.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::units::{Piece, Unit};
use crate::base::progress::SharedProgress;
use crate::base::{Error, Result, ResultExt};
use crate::pg::copy::{GroupSink, Sink, TableStream};
use crate::pg::error;
use crate::pg::session::Session;
use crate::pg::wire::Rows;

/// Index of the table, and what one stream of it held.
pub(super) type Done = (usize, TableStream);

enum Event {
    /// A reader holds the locks of a unit.
    Locked,
    /// Somebody waits for an exclusive lock of one of its tables.
    Contested(Unit),
}

type Queue = Arc<Mutex<VecDeque<Unit>>>;

/// Reads all units: `readers` share them, `holder` takes what they cannot lock.
pub(super) async fn read_all(
    holder: &Session,
    readers: Vec<Session>,
    units: Vec<Unit>,
    sink: Arc<dyn Sink>,
    progress: &SharedProgress,
) -> Result<Vec<Done>> {
    let total = units.len();
    let queue: Queue = Arc::new(Mutex::new(units.into()));
    let (sender, receiver) = unbounded_channel();
    let mut tasks = JoinSet::new();
    for session in readers {
        let (queue, sink, progress) = (Arc::clone(&queue), Arc::clone(&sink), Arc::clone(progress));
        let sender = sender.clone();
        tasks.spawn(async move { reader(session, &queue, &*sink, &sender, &progress).await });
    }
    drop(sender);
    let collect = async {
        let mut done = Vec::new();
        while let Some(result) = tasks.join_next().await {
            done.extend(result.map_err(|e| Error::internal("a reader ended unexpectedly").source(e))??);
        }
        Ok::<_, Error>(done)
    };
    let (mut done, contested) = tokio::try_join!(collect, hold(holder, receiver, total, &*sink, progress))?;
    done.extend(contested);
    Ok(done)
}

async fn hold(
    session: &Session,
    mut events: UnboundedReceiver<Event>,
    mut open: usize,
    sink: &dyn Sink,
    progress: &SharedProgress,
) -> Result<Vec<Done>> {
    let mut done = Vec::new();
    while open > 0 {
        match events.recv().await {
            Some(Event::Locked) => {}
            Some(Event::Contested(unit)) => {
                tracing::info!(unit = %unit.name, "a migration waits for this table; the session that holds its lock reads it");
                done.extend(read_unit(session, &unit, sink, progress).await?);
            }
            // The readers failed; their error is the answer.
            None => return Ok(done),
        }
        open -= 1;
    }
    session.end_reading().await?;
    Ok(done)
}

async fn reader(
    session: Session,
    queue: &Queue,
    sink: &dyn Sink,
    events: &UnboundedSender<Event>,
    progress: &SharedProgress,
) -> Result<Vec<Done>> {
    let mut done = Vec::new();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(unit) = next else { return Ok(done) };
        let locks = unit.locks();
        if !locks.is_empty() && !session.lock_unit(&locks).await? {
            let _ = events.send(Event::Contested(unit));
            continue;
        }
        let _ = events.send(Event::Locked);
        done.extend(read_unit(&session, &unit, sink, progress).await?);
        if !locks.is_empty() {
            session.release_unit().await?;
        }
    }
}

async fn read_unit(session: &Session, unit: &Unit, sink: &dyn Sink, progress: &SharedProgress) -> Result<Vec<Done>> {
    let mut group = sink.group(&unit.name).await?;
    let mut done = Vec::with_capacity(unit.pieces.len());
    let statements: Vec<&str> = unit.pieces.iter().map(|p| p.sql.as_str()).collect();
    let mut rows = session.copy_out(&statements);
    for piece in &unit.pieces {
        let stream = read_piece(&mut rows, piece, &mut *group, progress).await.context(|| format!("read {}", piece.what))?;
        done.push((piece.table, stream));
    }
    if !rows.is_complete() {
        return Err(Error::integrity(format!(
            "the server ended the statements that read {} before all of them had ended",
            unit.name
        )));
    }
    group.close().await?;
    Ok(done)
}

async fn read_piece(
    rows: &mut Rows<'_>,
    piece: &Piece,
    group: &mut dyn GroupSink,
    progress: &SharedProgress,
) -> Result<TableStream> {
    group.begin(&piece.stream)?;
    let mut meter = Meter { left: piece.weight, pending: 0, progress };
    while let Some(mut batch) = rows.next().await.map_err(|e| error::statement("copy its rows", &e))? {
        meter.add(batch.bytes() as u64);
        if group.rows(&mut batch)? {
            group.flush().await?;
        }
    }
    let fingerprint = group.end()?;
    meter.finish();
    Ok(TableStream { stream: piece.stream.clone(), from_block: piece.from_block, to_block: piece.to_block, fingerprint })
}

/// Progress is counted in bytes of the server's disk, which are known beforehand; rows as text may be more or fewer.
struct Meter<'a> {
    left: u64,
    pending: u64,
    progress: &'a SharedProgress,
}

impl Meter<'_> {
    /// What comes may be small and many: it is reported by the quarter of a mebibyte.
    fn add(&mut self, bytes: u64) {
        self.pending += bytes;
        if self.pending >= 1 << 18 {
            let step = self.pending.min(self.left);
            self.progress.advance(step);
            self.left -= step;
            self.pending = 0;
        }
    }

    fn finish(self) {
        self.progress.advance(self.left);
    }
}
