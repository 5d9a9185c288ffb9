//! Rows back into tables: streams in parallel, several into one large table, each counted against what the backup says.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};

use super::ledger::Ledger;
use super::outcome::{Part, TableMismatch};
use super::run::Work;
use super::statements::lost;
use super::tasks::Load;
use super::workers::{Rows, Worker};
use crate::base::sql::{ident, qualified};
use crate::base::{Error, Kind, Result, ResultExt};
use crate::pg::copy::{TableData, TableStream, encoded};
use crate::pg::large_objects::{COPY_SCRATCH, MAKE_SCRATCH};
use crate::pg::session::Session;

/// Pages of large objects that are put into the scratch table before they are written: their memory and disk on the server.
const SCRATCH_BYTES: u64 = 32 << 20;

/// Reports the tables that did not get all their rows.
pub(super) fn compare_counts(ledger: &Ledger, rows: &Rows) {
    let taken = rows.taken.lock().unwrap_or_else(PoisonError::into_inner);
    let mut mismatches: BTreeMap<String, TableMismatch> = BTreeMap::new();
    for (index, table) in rows.tables.iter().enumerate() {
        let (expected, loaded) = (table.fingerprint.rows, taken.get(&index).copied().unwrap_or(0));
        if expected != loaded {
            let name = format!("{} {}", table.entry, qualified(&table.schema, &table.table));
            mismatches.insert(name, TableMismatch { entry: table.entry.clone(), expected, loaded });
        }
    }
    ledger.with(|o| o.mismatches.extend(mismatches.into_values()));
}

impl Worker {
    /// Loads rows and counts those that the server took. Errors of single streams, damaged and missing parts among them, are in the ledger; a vault
    /// or server that does not answer is an error.
    pub(super) async fn load(&mut self, load: &Load) -> Result<()> {
        if self.work.ledger.is_lost(&self.rows.tables[load.table].entry) {
            self.work.progress.advance(load.streams.iter().map(|s| s.fingerprint.bytes).sum());
            return Ok(());
        }
        if load.whole && self.load_whole(load).await? {
            return Ok(());
        }
        for stream in &load.streams {
            self.load_stream(load.table, stream).await?;
        }
        Ok(())
    }

    /// Loads all rows of a table in the transaction that empties it. Nobody can have seen the table without them, so the server writes them as rows that
    /// everybody sees, which it need not visit again, and leaves the WAL alone where nothing reads it (`wal_level = minimal`). False if this failed:
    /// then the table is empty, and stream by stream it may still get most of its rows.
    async fn load_whole(&mut self, load: &Load) -> Result<bool> {
        let table = &self.rows.tables[load.table];
        let begin = format!("BEGIN; TRUNCATE TABLE ONLY {}", qualified(&table.schema, &table.table));
        let statement = frozen(&encoded(&copy_in(table), &self.work.encoding));
        if let Err(error) = self.session.run("empty the table", &begin).await {
            return self.start_over(Failed::Other(error)).await;
        }
        let mut taken = 0;
        for stream in &load.streams {
            match load_rows(&self.work, &self.session, &statement, stream).await {
                Ok(rows) => taken += rows,
                Err(failed) => return self.start_over(failed).await,
            }
        }
        if let Err(error) = self.session.run("commit the rows", "COMMIT").await {
            return self.start_over(Failed::Other(error)).await;
        }
        self.count(load.table, taken, load.streams.iter().map(|s| s.fingerprint.bytes).sum());
        Ok(true)
    }

    async fn start_over(&mut self, failed: Failed) -> Result<bool> {
        match failed {
            Failed::Vault(error) if !is_damage(&error) => return Err(error),
            Failed::Server(failure) if failure.as_db_error().is_none() => return Err(lost(&self.session)),
            Failed::Other(_) if self.session.is_closed() => return Err(lost(&self.session)),
            _ => {}
        }
        self.reconnect().await?;
        Ok(false)
    }

    async fn load_stream(&mut self, number: usize, stream: &TableStream) -> Result<()> {
        let work = &self.work;
        let table = &self.rows.tables[number];
        let statement = if table.is_large_objects() { COPY_SCRATCH.to_owned() } else { encoded(&copy_in(table), &work.encoding) };
        let loaded = if table.is_large_objects() {
            load_objects(work, &self.session, stream).await
        } else {
            load_rows(work, &self.session, &statement, stream).await
        };
        let fail = |message| work.ledger.fail_with(&table.entry, Part::Rows, &statement, None, message);
        match loaded {
            Ok(rows) => self.count(number, rows, stream.fingerprint.bytes),
            // One damaged or missing part must not keep the other tables from coming back: without those rows the table is reported.
            Err(Failed::Vault(error)) if is_damage(&error) => fail(error.full_message()),
            Err(Failed::Vault(error)) => return Err(error),
            Err(Failed::Server(failure)) if failure.as_db_error().is_none() => return Err(lost(&self.session)),
            Err(Failed::Server(failure)) => {
                work.ledger.fail(&table.entry, Part::Rows, &statement, &failure);
                // A COPY that the server refuses at its beginning costs the driver its place in the protocol, and the session with it.
                self.reconnect().await?;
            }
            Err(Failed::Other(error)) if self.session.is_closed() => return Err(error),
            Err(Failed::Other(error)) => fail(error.full_message()),
        }
        Ok(())
    }

    fn count(&self, table: usize, rows: u64, bytes: u64) {
        self.work.ledger.loaded(rows, bytes);
        *self.rows.taken.lock().unwrap_or_else(PoisonError::into_inner).entry(table).or_default() += rows;
    }
}

/// What is wrong with one part or one stream, and not with the vault.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), Kind::Integrity | Kind::NotFound)
}

/// The same COPY into a table that its transaction has emptied.
fn frozen(copy: &str) -> String {
    copy.strip_suffix(')').map_or_else(|| format!("{copy} (FREEZE)"), |options| format!("{options}, FREEZE)"))
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
