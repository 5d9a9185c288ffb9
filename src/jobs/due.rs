//! Where a policy's schedules stand, read from its vault, and the claim of a slot under the lease.

use std::sync::Arc;

use jiff::Timestamp;

use super::context::Context;
use super::run::{fail_stale, under_lease};
use crate::base::clock::elapsed;
use crate::base::ids::RunId;
use crate::base::limits::READER_TTL;
use crate::base::{Error, Kind, Result};
use crate::policy::due::{self, Action, Attempt, Outcome, Standing};
use crate::policy::explain::{self as words, Missed};
use crate::policy::{Policy, Schedule};
use crate::repo::Vault;
use crate::repo::lease::{Lease, Purpose};
use crate::repo::readers::{self, ReaderMark};
use crate::repo::runs::{self, EndedBy, Known, Run, RunKind, RunState};

/// Newest records that are looked at: more than the tries that one slot can have.
const RECORDS: usize = 100;
/// Missed slots that are named.
const MISSED_SHOWN: usize = 5;

/// The schedule by which runs of `kind` are due, if there is one.
pub fn schedule_of(policy: &Policy, kind: RunKind) -> Option<Schedule> {
    match kind {
        RunKind::Backup => policy.schedule.clone(),
        RunKind::Verify => policy.verify_schedule(),
        RunKind::Prune | RunKind::Restore => None,
    }
}

/// The records that say where schedules stand. Read once for several questions.
#[derive(Debug)]
pub struct History {
    runs: Vec<Run>,
    marks: Vec<ReaderMark>,
    now: Timestamp,
}

impl History {
    /// Reads the newest records of `vault`, and those farther back that say until where the schedules of `policy` are covered.
    pub async fn read(vault: &Vault, policy: &Policy) -> Result<Self> {
        Self::read_unless(vault, policy, &mut Known::default()).await
    }

    /// The same, fetching only what `known` does not have.
    pub async fn read_unless(vault: &Vault, policy: &Policy, known: &mut Known) -> Result<Self> {
        let now = vault.clock().now();
        let runs = runs::newest_unless(vault, RECORDS, known).await?;
        let mut this = Self { runs, marks: readers::all(vault).await?, now };
        if this.runs.len() < RECORDS {
            return Ok(this);
        }
        for kind in [RunKind::Backup, RunKind::Verify] {
            let covers = |run: &Run| covered_slot(run).is_some_and(|slot| slot <= now) && run.kind == kind;
            if schedule_of(policy, kind).is_some() && !this.runs.iter().any(covers) {
                this.runs.extend(runs::newest_where(vault, covers).await?);
            }
        }
        Ok(this)
    }

    /// The records, newest first.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Whether a record says that a run goes on which does not, if nobody holds the lease.
    pub fn has_stale(&self) -> bool {
        let reads = |run: &Run| matches!(run.kind, RunKind::Verify | RunKind::Restore);
        self.runs.iter().any(|run| run.state == RunState::Running && !(reads(run) && self.lives(run)))
    }

    /// What runs of `kind` did for slots.
    pub fn attempts(&self, kind: RunKind) -> Vec<Attempt> {
        self.runs.iter().filter(|r| r.kind == kind).filter_map(|r| self.attempt(r)).collect()
    }

    /// Where the schedule of `kind` stands; `None`: there is no such schedule.
    pub fn standing(&self, vault: &Vault, policy: &Policy, kind: RunKind) -> Option<Standing> {
        let schedule = schedule_of(policy, kind)?;
        Some(due::standing(&policy.name, &schedule, vault.info().created_at, &self.attempts(kind), self.now))
    }

    fn attempt(&self, run: &Run) -> Option<Attempt> {
        let ended_at = run.finished_at.unwrap_or(run.started_at);
        if let Some(slot) = covered_slot(run) {
            return Some(Attempt { slot, ended_at, outcome: Outcome::Covered });
        }
        let slot = run.slot?;
        let outcome = match run.state {
            RunState::Succeeded => Outcome::Covered,
            RunState::Running if run.kind == RunKind::Verify && self.lives(run) => Outcome::Running,
            RunState::Cancelled if run.ended_by == Some(EndedBy::Operator) => Outcome::Abandoned,
            // Whoever asks holds the lease, or has seen that nobody does: one that runs was killed.
            RunState::Running | RunState::Cancelled => Outcome::Interrupted,
            RunState::Failed if run.ended_by == Some(EndedBy::Killed) => Outcome::Interrupted,
            RunState::Failed => {
                let kind = run.error.as_ref().and_then(|e| Kind::from_name(&e.kind));
                match kind {
                    // Lost its lease: to somebody who took over, or to a store that did not answer.
                    Some(Kind::Conflict) => Outcome::Interrupted,
                    kind => Outcome::Failed { retryable: kind.is_some_and(Kind::retryable) },
                }
            }
        };
        Some(Attempt { slot, ended_at, outcome })
    }

    /// As `runs::fail_stale` sees it.
    fn lives(&self, run: &Run) -> bool {
        elapsed(run.started_at, self.now) < READER_TTL || self.marks.iter().any(|m| m.id == run.run && m.expires_at > self.now)
    }
}

/// The slot that a run covers: its own, or of a backup by hand every one that had come when it began.
fn covered_slot(run: &Run) -> Option<Timestamp> {
    let good = run.state == RunState::Succeeded || run.committed_at.is_some();
    // A verification that found damage took place.
    let found = run.kind == RunKind::Verify && run.error.as_ref().is_some_and(|e| e.kind == Kind::Integrity.name());
    match (run.kind, run.slot) {
        (_, Some(slot)) if good || found => Some(slot),
        (RunKind::Backup, None) if good => Some(run.started_at),
        _ => None,
    }
}

/// What was missed of the schedule of backups, as far as the vault can be read; `None`: there is no schedule.
pub async fn missed(cx: &Context, policy: &Policy) -> Option<Missed> {
    let schedule = policy.schedule.as_ref()?;
    let unknown = |note: String| Some(Missed { since: None, slots: Vec::new(), note: Some(note) });
    let read = async {
        match cx.find_vault(policy.name.as_str()).await? {
            (_, None) => Ok(None),
            (_, Some(vault)) => {
                let history = History::read(&vault, policy).await?;
                Ok(Some((vault, history)))
            }
        }
    };
    let (vault, history) = match read.await {
        Ok(Some(found)) => found,
        Ok(None) => return unknown("there is no vault yet".to_owned()),
        Err(error) => {
            let error: Error = error;
            tracing::info!(%error, "the vault cannot be read");
            return unknown("the vault cannot be read; `pgkeep doctor` says why".to_owned());
        }
    };
    let oldest = history.runs.iter().map(|r| r.started_at).min();
    let complete = history.runs.len() < RECORDS;
    let since = if complete { vault.info().created_at } else { oldest.unwrap_or(history.now) };
    let attempts = history.attempts(RunKind::Backup);
    let slots = due::uncovered(schedule, &attempts, since, history.now, MISSED_SHOWN);
    let standing = history.standing(&vault, policy, RunKind::Backup);
    let note = standing.and_then(|s| s.due).map(|due| match due.action {
        Action::StartAt(at) if at <= history.now => "one run is due now and covers them".to_owned(),
        Action::StartAt(at) => format!("the next run starts at {at}"),
        Action::Wait => "a run goes on".to_owned(),
        Action::GiveUp(why) => format!("{} is not tried again: {why}", due.slot),
    });
    Some(Missed { since: Some(since), slots: words::slots(policy, &slots), note })
}

/// A slot that a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The slot.
    pub slot: Timestamp,
    /// How many runs for it failed before, plus one.
    pub attempt: u32,
}

/// Decides again, under the lease and from fresh records, whether a run of `kind` for `slot` may start: of two daemons that saw it due, one is
/// told that it is not any more, by an error of kind `Conflict`.
pub async fn claim(
    cx: &Context,
    vault: &Vault,
    lease: &Arc<Lease>,
    policy: &Policy,
    kind: RunKind,
    slot: Timestamp,
    own: &RunId,
) -> Result<Claim> {
    let mut history = History::read(vault, policy).await?;
    if history.has_stale() {
        for stale in fail_stale(vault, lease, own).await? {
            tracing::info!(policy = vault.policy(), run = %stale, "an earlier run was killed; its record says so now");
        }
        history = History::read(vault, policy).await?;
    }
    let gone = |why: &str| {
        Err(Error::conflict(format!("the slot {slot} of {} is not due any more: {why}", vault.describe())).source(NotDue))
    };
    let Some(due) = history.standing(vault, policy, kind).and_then(|s| s.due) else { return gone("a run covered it") };
    if due.slot != slot {
        return gone("a later one is");
    }
    match due.action {
        Action::StartAt(at) if at <= cx.clock.now() => Ok(Claim { slot, attempt: due.failed + 1 }),
        Action::StartAt(_) => gone("a run for it failed a moment ago"),
        Action::Wait => gone("a run for it goes on"),
        Action::GiveUp(why) => gone(&why),
    }
}

/// Ends the records of runs that were killed, under a lease of its own.
pub async fn settle(cx: &Context, vault: &Vault) -> Result<()> {
    under_lease(cx, vault, "serve", Purpose::Write, |lease, _| async move {
        for stale in fail_stale(vault, &lease, &RunId::generate(cx.clock.now())).await? {
            tracing::warn!(policy = vault.policy(), run = %stale, "a run was killed; its record says so now");
        }
        Ok(())
    })
    .await
}

/// Put as the source of an error: a slot was not due any more when its run had the lease. Nothing failed, and no run was recorded.
#[derive(Debug, Clone, Copy)]
pub struct NotDue;

impl NotDue {
    /// Whether `error` says so.
    pub fn marks(error: &Error) -> bool {
        std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<Self>)
    }
}

impl std::fmt::Display for NotDue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not due any more")
    }
}

impl std::error::Error for NotDue {}
