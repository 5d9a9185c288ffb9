//! Entries one after another on one session: many in one round trip, and one by one where a batch fails, so that each error is that of its entry.

use super::ledger::Ledger;
use super::statements::{RESET, lost};
use crate::base::{Kind, Result};
use crate::pg::catalog::entry::Entry;
use crate::pg::error;
use crate::pg::session::Session;

/// Entries in one round trip.
const BATCH_ENTRIES: usize = 100;
/// Bytes of statements in one round trip.
const BATCH_BYTES: usize = 256 << 10;

/// What is run for one entry, and what its failure means.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// The entry.
    pub(super) entry: &'a Entry,
    /// Its statements.
    pub(super) statements: Vec<String>,
    /// Statements from this one on may fail without the object being missing: they are settings, owners, comments.
    pub(super) vital: usize,
    /// How failures count.
    pub(super) failure: Failure,
}

/// How failures of a step count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// As errors.
    Error,
    /// As warnings: what is missing was there before, or somebody else's.
    Warning,
    /// Not at all: whether it worked is seen elsewhere.
    Silent,
}

/// Runs steps in order. Fails only when the connection is lost.
pub(super) async fn run(session: &Session, ledger: &Ledger, steps: Vec<Step<'_>>) -> Result<()> {
    let mut batch: Vec<Step<'_>> = Vec::new();
    let mut bytes = 0;
    for step in steps {
        let size: usize = step.statements.iter().map(String::len).sum();
        if !batch.is_empty() && (batch.len() >= BATCH_ENTRIES || bytes + size > BATCH_BYTES) {
            run_batch(session, ledger, std::mem::take(&mut batch)).await?;
            bytes = 0;
        }
        bytes += size;
        batch.push(step);
    }
    run_batch(session, ledger, batch).await
}

async fn run_batch(session: &Session, ledger: &Ledger, steps: Vec<Step<'_>>) -> Result<()> {
    let steps: Vec<Step<'_>> = steps.into_iter().filter(|s| !ledger.skips(s.entry)).collect();
    let text = steps.iter().flat_map(|s| &s.statements).map(String::as_str).collect::<Vec<_>>().join(";\n");
    if text.is_empty() {
        return Ok(());
    }
    // Several statements in one message are one transaction: all or none.
    if steps.len() > 1 && session.client().batch_execute(&text).await.is_ok() {
        for step in &steps {
            ledger.made(&step.entry.id);
        }
        return Ok(());
    }
    for step in &steps {
        run_step(session, ledger, step).await?;
    }
    Ok(())
}

/// Runs the statements of one entry one by one.
pub(super) async fn run_step(session: &Session, ledger: &Ledger, step: &Step<'_>) -> Result<()> {
    if ledger.skips(step.entry) {
        return Ok(());
    }
    let mut failed = false;
    for (index, sql) in step.statements.iter().enumerate() {
        let Err(failure) = execute(session, sql).await else { continue };
        if session.is_closed() {
            return Err(lost(session));
        }
        failed = true;
        match step.failure {
            Failure::Silent => {}
            Failure::Error if !tolerable(step, index, &failure) => ledger.fail(&step.entry.id, sql, &failure),
            _ => ledger.warn(format!("{}: {}", step.entry.id, error::sentence(&failure))),
        }
        if index < step.vital {
            ledger.lose(&step.entry.id);
            break;
        }
    }
    if failed {
        session.run("reset the session", RESET).await?;
    }
    if !ledger.is_lost(&step.entry.id) {
        ledger.made(&step.entry.id);
    }
    Ok(())
}

/// An extension belongs to its installer on managed servers: its comment is then not ours to set.
fn tolerable(step: &Step<'_>, index: usize, failure: &tokio_postgres::Error) -> bool {
    step.entry.kind == "extension" && index >= step.vital && failure.code().is_some_and(|c| error::kind(c) == Kind::Denied)
}

/// Runs one statement; a deadlock or a serialisation failure, which others cause, is tried again.
async fn execute(session: &Session, sql: &str) -> Result<(), tokio_postgres::Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        match session.client().batch_execute(sql).await {
            Err(failure) if tries < 4 && matches!(error::sqlstate(&failure).as_deref(), Some("40P01" | "40001")) => {}
            other => return other,
        }
    }
}
