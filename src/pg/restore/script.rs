//! Entries one after another on one session: many in one round trip, and one by one where a batch fails, so that each error is that of its entry.

use super::ledger::Ledger;
use super::outcome::Part;
use super::render::Statement;
use super::statements::{RESET, extension_comment, lost};
use crate::base::Result;
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
    /// Its statements. One that fails and makes the object itself is the last to be tried.
    pub(super) statements: Vec<Statement>,
    /// How failures count.
    pub(super) failure: Failure,
}

/// How failures of a step count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// As errors.
    Error,
    /// As errors that leave what needs the entry alone: something was not removed.
    Removal,
    /// Not at all: whether it worked is seen elsewhere.
    Silent,
}

/// Runs steps in order. Fails only when the connection is lost.
pub(super) async fn run(session: &Session, ledger: &Ledger, steps: Vec<Step<'_>>) -> Result<()> {
    let mut batch: Vec<Step<'_>> = Vec::new();
    let mut bytes = 0;
    for step in steps {
        let size: usize = step.statements.iter().map(|s| s.sql.len()).sum();
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
    let statements = || steps.iter().flat_map(|s| &s.statements);
    let text = statements().map(|s| s.sql.as_str()).collect::<Vec<_>>().join(";\n");
    if text.is_empty() {
        return Ok(());
    }
    session.take_unmet();
    // Several statements in one message are one transaction: all or none.
    if steps.len() > 1 && session.client().batch_execute(&text).await.is_ok() {
        // Grants that had no effect are granted again one by one, to learn which.
        let unmet = !session.take_unmet().is_empty() && statements().any(|s| s.part == Part::Privileges);
        if !unmet {
            for step in &steps {
                ledger.made(&step.entry.id);
            }
            return Ok(());
        }
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
    for Statement { part, sql, .. } in &step.statements {
        session.take_unmet();
        let Err(failure) = execute(session, sql).await else {
            for unmet in session.take_unmet().iter().filter(|_| *part == Part::Privileges) {
                ledger.fail_with(&step.entry.id, *part, sql, Some(unmet.sqlstate.clone()), unmet.message.clone());
            }
            continue;
        };
        if session.is_closed() {
            return Err(lost(session));
        }
        failed = true;
        if step.failure != Failure::Silent
            && !(step.entry.kind == "extension" && is_comment_there(session, step.entry, sql).await?)
        {
            ledger.fail(&step.entry.id, *part, sql, &failure);
        }
        if *part == Part::Object && step.failure == Failure::Error {
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

/// An extension that somebody else installed has its comment already, as a rule, and it is not ours to set.
async fn is_comment_there(session: &Session, entry: &Entry, sql: &str) -> Result<bool> {
    Ok(session.extension_comment(&entry.name).await?.is_some_and(|text| extension_comment(&entry.name, &text) == sql))
}

/// Before a statement of the same message: plans that hash no values, where there are others.
const WITHOUT_HASHING: &str = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_hashagg = off;\n";

/// Runs one statement; a deadlock or a serialisation failure, which others cause, is tried again. So is, without hashing, what lacks a
/// function: the server plans to hash the values of any range type, even where its bounds cannot be hashed.
async fn execute(session: &Session, sql: &str) -> Result<(), tokio_postgres::Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let Err(failure) = session.client().batch_execute(sql).await else { return Ok(()) };
        match error::sqlstate(&failure).as_deref() {
            Some("40P01" | "40001") if tries < 4 => {}
            Some("42883") => {
                let again = session.client().batch_execute(&format!("{WITHOUT_HASHING}{sql}")).await;
                return again.map_err(|_| failure);
            }
            _ => return Err(failure),
        }
    }
}
