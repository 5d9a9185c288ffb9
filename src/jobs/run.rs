//! A run: under the lease where it writes, recorded from its first moment, ended in one place whatever happens.

use std::sync::Arc;

use super::context::{Context, host_name};
use crate::base::clock::Stopwatch;
use crate::base::ids::{BackupId, RunId};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Kind, Result};
use crate::repo::Vault;
use crate::repo::lease::{Lease, LeaseRequest, Purpose};
use crate::repo::runs::{self, Run, RunKind, RunStage};

/// A run record that grows while the run goes on.
#[derive(Debug)]
pub struct Recorder {
    vault: Vault,
    record: Run,
    stage: Option<(String, Stopwatch)>,
    saves: bool,
}

impl Recorder {
    /// Writes the record as `running`.
    pub async fn start(vault: &Vault, id: RunId, kind: RunKind, label: Option<&str>) -> Result<Self> {
        let record = Run::start(id, kind, vault.clock().now(), &host_name(), label);
        let mut saves = true;
        match record.save(vault).await {
            Ok(()) => {}
            // A run that only reads must work on a store that cannot be written.
            Err(error) if error.kind() == Kind::Denied && matches!(kind, RunKind::Restore | RunKind::Verify) => {
                tracing::warn!(%error, "this run leaves no record in the vault");
                saves = false;
            }
            Err(error) => return Err(error),
        }
        Ok(Self { vault: vault.clone(), record, stage: None, saves })
    }

    /// Names the backup that the run is about.
    pub fn about(&mut self, backup: &BackupId) {
        self.record.backup = Some(backup.clone());
    }

    /// Ends the current stage and begins the next.
    pub fn stage(&mut self, name: &str) {
        self.end_stage(0);
        self.stage = Some((name.to_owned(), Stopwatch::start()));
    }

    /// Ends the current stage, through which `bytes` went.
    pub fn end_stage(&mut self, bytes: u64) {
        if let Some((name, watch)) = self.stage.take() {
            self.record.stages.push(RunStage { name, seconds: watch.elapsed().as_secs_f64(), bytes });
        }
    }

    /// What else was measured.
    pub fn stats(&mut self, stats: serde_json::Value) {
        self.record.stats = stats;
    }

    /// Writes how it ended: as `outcome` says, or failed where what was done has to be called a failure (findings, lost objects, a suspicious
    /// backup). The outcome itself stands whether or not the record can be written: what is committed or restored is so.
    pub async fn end<T>(mut self, outcome: Result<T>, failure: impl FnOnce(&T) -> Option<Error>) -> Result<T> {
        self.end_stage(0);
        let now = self.vault.clock().now();
        let failed = outcome.as_ref().map_or(None, failure);
        self.record.end(
            now,
            match (&outcome, &failed) {
                (Err(error), _) | (Ok(_), Some(error)) => Err(error),
                (Ok(_), None) => Ok(()),
            },
        );
        if self.saves
            && let Err(error) = self.record.save(&self.vault).await
        {
            tracing::warn!(run = %self.record.run, %error, "the run record could not be written");
        }
        outcome
    }
}

/// Takes the lease, keeps it, runs `work` with a token that also falls when the lease is lost, and gives the lease back.
pub async fn under_lease<T>(
    cx: &Context,
    vault: &Vault,
    command: &str,
    purpose: Purpose,
    work: impl AsyncFnOnce(Arc<Lease>, Shutdown) -> Result<T>,
) -> Result<T> {
    let request = LeaseRequest { outwait: true, ..LeaseRequest::new(cx.owner(command), purpose) };
    let lease = cx.shutdown.guard(Lease::acquire(vault, &request)).await?;
    let token = cx.shutdown.child();
    let guard = lease.keep(token.clone());
    let outcome = work(Arc::clone(&lease), token).await;
    drop(guard);
    // The lease's own word says more than the "interrupted" that its loss caused.
    let outcome = match outcome {
        Err(error) if !cx.shutdown.is_cancelled() => Err(lease.check().err().unwrap_or(error)),
        other => other,
    };
    match (lease.release().await, outcome) {
        (Err(unreleased), Ok(value)) => {
            tracing::warn!(error = %unreleased, "the lease could not be given back; it expires by itself");
            Ok(value)
        }
        (_, outcome) => outcome,
    }
}

/// Marks runs that were killed as failed.
pub async fn fail_stale(vault: &Vault, lease: &Lease, own: &RunId) -> Result<Vec<RunId>> {
    runs::fail_stale(vault, lease, own).await
}
