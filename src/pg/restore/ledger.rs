//! What happened so far: shared by all workers of one restore.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::outcome::{Part, RestoreError, RestoreOutcome, Skipped};
use super::statements::{first_line, redact_message};
use crate::pg::catalog::entry::Entry;
use crate::pg::error;

#[derive(Debug, Default)]
struct State {
    outcome: RestoreOutcome,
    /// Entries that were not made.
    lost: HashSet<String>,
    /// Entries that were.
    made: HashSet<String>,
}

/// Errors, warnings and counts, and which entries are missing because of them.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<State>);

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an entry cannot be made because something that it needs was not; it is then recorded as skipped.
    pub(super) fn skips(&self, entry: &Entry) -> bool {
        let mut state = self.state();
        if state.lost.contains(&entry.id) {
            return true;
        }
        let because = entry.parent.iter().chain(&entry.depends).find(|id| state.lost.contains(*id)).cloned();
        let Some(because) = because else { return false };
        state.lost.insert(entry.id.clone());
        state.outcome.skipped.push(Skipped { entry: entry.id.clone(), because });
        true
    }

    /// Whether an entry was not made.
    pub(super) fn is_lost(&self, id: &str) -> bool {
        self.state().lost.contains(id)
    }

    /// An entry is missing: what needs it is skipped.
    pub(super) fn lose(&self, id: &str) {
        self.state().lost.insert(id.to_owned());
    }

    /// A statement failed.
    pub(super) fn fail(&self, entry: &str, part: Part, sql: &str, failure: &tokio_postgres::Error) {
        self.fail_with(entry, part, sql, error::sqlstate(failure), error::sentence(failure));
    }

    /// Something failed for a reason of ours.
    pub(super) fn fail_with(&self, entry: &str, part: Part, sql: &str, sqlstate: Option<String>, message: String) {
        let message = redact_message(entry, message);
        tracing::debug!(entry, message, "restore statement failed");
        let error = RestoreError { entry: entry.to_owned(), part, statement: first_line(entry, sql), sqlstate, message };
        self.state().outcome.errors.push(error);
    }

    /// Something differs from the source without being lost.
    pub(super) fn warn(&self, text: String) {
        self.state().outcome.warnings.push(text);
    }

    /// An entry was made, in whole or but for a part whose failure is recorded.
    pub(super) fn made(&self, id: &str) {
        self.state().made.insert(id.to_owned());
    }

    /// Rows were loaded.
    pub(super) fn loaded(&self, rows: u64, bytes: u64) {
        let mut state = self.state();
        state.outcome.rows += rows;
        state.outcome.bytes += bytes;
    }

    /// Anything else that the outcome holds.
    pub(super) fn with(&self, change: impl FnOnce(&mut RestoreOutcome)) {
        change(&mut self.state().outcome);
    }

    /// The outcome.
    pub(super) fn into_outcome(self) -> RestoreOutcome {
        let state = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        RestoreOutcome { objects: state.made.len() as u64, ..state.outcome }
    }
}
