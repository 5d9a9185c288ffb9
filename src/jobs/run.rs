//! A run: under the lease where it writes, recorded from its first moment, ended in one place whatever happens.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::context::{Context, host_name};
use super::due::Claim;
use crate::base::clock::Stopwatch;
use crate::base::ids::RunId;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Kind, Result};
use crate::repo::Vault;
use crate::repo::lease::{Lease, LeaseRequest, Purpose};
use crate::repo::runs::{self, EndedBy, HookRun, Run, RunKind, RunStage, RunState, Trigger};

/// Who is present at each run: the daemon's runner, which runs hooks, shows the run to others and tells how it ended.
#[async_trait]
pub trait Attendant: Send + Sync + std::fmt::Debug {
    /// The record was written as `running`. An error fails the run before its work begins.
    async fn begun(&self, _run: &mut Run) -> Result<()> {
        Ok(())
    }
    /// The work ended as `run` says; what is added to the record now is written with it.
    async fn ending(&self, _run: &mut Run) {}
    /// The record of how it ended is written, as far as the store allowed; `outcome`: the run's error, or what its report has to be called.
    async fn ended(&self, _vault: &Vault, _run: &Run, _outcome: Result<(), &Error>) {}
}

/// Shared attendant.
pub type SharedAttendant = Arc<dyn Attendant>;

/// Is not there.
#[derive(Debug)]
struct Nobody;

impl Attendant for Nobody {}

/// An attendant that does nothing.
pub fn nobody() -> SharedAttendant {
    Arc::new(Nobody)
}

/// Who wants a run, and what it is called.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Its id; a new one if not given.
    pub id: Option<RunId>,
    /// Who wants it; `None`: the command line.
    pub trigger: Option<Trigger>,
    /// The slot that it is for: claimed under the lease before anything else.
    pub slot: Option<Timestamp>,
}

impl Order {
    /// The run's id.
    pub fn id(&self, cx: &Context) -> RunId {
        self.id.clone().unwrap_or_else(|| RunId::generate(cx.clock.now()))
    }
}

/// A run record that grows while the run goes on.
#[derive(Debug)]
pub struct Recorder {
    attendant: SharedAttendant,
    vault: Vault,
    record: Run,
    stage: Option<(String, Stopwatch)>,
    saves: bool,
}

impl Recorder {
    /// Writes the record as `running`.
    pub async fn start(cx: &Context, vault: &Vault, mut record: Run) -> Result<Self> {
        record.vault = Some(vault.describe());
        let (kind, mut saves) = (record.kind, true);
        match record.save(vault).await {
            Ok(()) => {}
            // A run that only reads must work on a store that cannot be written.
            Err(error) if error.kind() == Kind::Denied && matches!(kind, RunKind::Restore | RunKind::Verify) => {
                tracing::warn!(%error, "this run leaves no record in the vault");
                saves = false;
            }
            Err(error) => return Err(error),
        }
        let mut this = Self { attendant: cx.attendant.clone(), vault: vault.clone(), record, stage: None, saves };
        match this.attendant.clone().begun(&mut this.record).await {
            Ok(()) => Ok(this),
            Err(error) => this.end(Err(error), |_: &Self| None).await,
        }
    }

    /// The backup is committed, whatever happens from now on.
    pub fn committed(&mut self, at: Timestamp) {
        self.record.committed_at = Some(at);
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

    /// What commands around the work did. Whoever is present cleans their output of secrets before the record is written.
    pub fn commands(&mut self, did: Vec<HookRun>) {
        self.record.hooks.extend(did);
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
        if self.record.state == RunState::Cancelled && self.record.ended_by.is_none() {
            self.record.ended_by = Some(EndedBy::Shutdown);
        }
        self.attendant.ending(&mut self.record).await;
        if self.saves
            && let Err(error) = self.record.save(&self.vault).await
        {
            tracing::warn!(run = %self.record.run, %error, "the run record could not be written");
        }
        let told = outcome.as_ref().err().or(failed.as_ref()).map_or(Ok(()), Err);
        self.attendant.ended(&self.vault, &self.record, told).await;
        outcome
    }
}

/// The record of a run that starts now.
pub fn record(cx: &Context, order: &Order, id: RunId, kind: RunKind, claim: Option<Claim>) -> Run {
    let mut run = Run::start(id, kind, cx.clock.now(), &host_name(), None);
    run.trigger = Some(order.trigger.unwrap_or(Trigger::Command));
    run.slot = claim.map(|c| c.slot);
    run.attempt = claim.map(|c| c.attempt);
    run
}

/// Takes the lease, keeps it, runs `work` with a token that also falls when the lease is lost, and gives the lease back.
// An async closure would do, but for that the compiler cannot prove its future `Send`, which a task of the daemon has to be.
pub async fn under_lease<T, F: Future<Output = Result<T>>>(
    cx: &Context,
    vault: &Vault,
    command: &str,
    purpose: Purpose,
    work: impl FnOnce(Arc<Lease>, Shutdown) -> F,
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
