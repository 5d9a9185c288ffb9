//! A run: under the lease where it writes, recorded from its first moment, ended in one place whatever happens.

use std::sync::Arc;

use jiff::Timestamp;

use super::context::{Context, host_name};
use crate::base::clock::{Stopwatch, elapsed};
use crate::base::ids::{BackupId, RunId};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::repo::Vault;
use crate::repo::lease::{Lease, LeaseRequest, Purpose};
use crate::repo::runs::{self, Run, RunKind, RunStage};

/// A run record that grows while the run goes on.
#[derive(Debug)]
pub struct Recorder {
    vault: Vault,
    record: Run,
    stage: Option<(String, Stopwatch)>,
}

impl Recorder {
    /// Writes the record as `running`.
    pub async fn start(vault: &Vault, id: RunId, kind: RunKind, label: Option<&str>) -> Result<Self> {
        let record = Run::start(id, kind, vault.clock().now(), &host_name(), label);
        record.save(vault).await?;
        Ok(Self { vault: vault.clone(), record, stage: None })
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

    /// Writes how it ended. A record that cannot be written must not hide the run's own error, so it is only logged then.
    pub async fn end<T>(mut self, outcome: Result<T>) -> Result<T> {
        self.end_stage(0);
        let now: Timestamp = self.vault.clock().now();
        self.record.end(now, outcome.as_ref().map(|_| ()));
        let seconds = elapsed(self.record.started_at, now).as_secs();
        match (self.record.save(&self.vault).await, outcome) {
            (Ok(()), outcome) => outcome,
            (Err(unsaved), Err(error)) => {
                tracing::warn!(run = %self.record.run, seconds, error = %unsaved, "the run record could not be written");
                Err(error)
            }
            (Err(unsaved), Ok(_)) => Err(Error::context(unsaved, format!("write the record of run {}", self.record.run))),
        }
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
