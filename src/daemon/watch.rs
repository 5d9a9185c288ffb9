//! Watches a run: what it is at, for others to see, and whether it still moves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::state::{CurrentRun, State};
use crate::base::Error;
use crate::base::clock::{SharedClock, Stopwatch};
use crate::base::progress::{Progress, SharedProgress};
use crate::base::shutdown::Shutdown;
use crate::base::units::format_duration;
use crate::repo::runs::Run;

/// How long a run may go without progress, and how often that is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Between two looks.
    pub look: Duration,
    /// Rows and parts move all the time; a server or store that takes this long for the next of them is not coming back.
    pub moving: Duration,
    /// Stages that are one question to a server or store, or wait for locks.
    pub asking: Duration,
    /// Stages in which a server works by itself: indexes and constraints of a large table.
    pub building: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self { look: Duration::from_secs(1), moving: minutes(15), asking: minutes(60), building: minutes(12 * 60) }
    }
}

impl Limits {
    /// The limit of a stage; `None`: it is limited elsewhere.
    fn of(&self, stage: &str) -> Option<Duration> {
        match stage {
            // For the lease, which names its holder when it is not to be had; hooks have their own.
            WAITING | HOOK => None,
            "rows" | "content" | "presence" => Some(self.moving),
            "catalog" | "commit" | "scratch server" | "compare objects" | "compare rows" => Some(self.asking),
            _ => Some(self.building),
        }
    }
}

/// The stage before the first one.
const WAITING: &str = "waiting";
/// The stage while a hook runs.
pub(super) const HOOK: &str = "hook";

/// Passes progress on, and remembers it.
#[derive(Debug)]
pub(super) struct Watch {
    inner: SharedProgress,
    clock: SharedClock,
    state: Option<(State, String)>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    stage: String,
    since: Timestamp,
    bytes: u64,
    total: Option<u64>,
    moved_at: Timestamp,
    idle: Stopwatch,
    run: Option<CurrentRun>,
}

impl Watch {
    /// Around the progress of one run; with a state, it is shown there as the current run of a policy.
    pub(super) fn new(inner: SharedProgress, clock: SharedClock, state: Option<(State, String)>) -> Arc<Self> {
        let now = clock.now();
        let seen = Seen {
            stage: WAITING.to_owned(),
            since: now,
            bytes: 0,
            total: None,
            moved_at: now,
            idle: Stopwatch::start(),
            run: None,
        };
        Arc::new(Self { inner, clock, state, seen: Mutex::new(seen) })
    }

    /// Shows `run` from now on.
    pub(super) fn show(&self, run: CurrentRun) {
        self.seen().run = Some(run);
        self.publish();
    }

    /// What the record says of the run that is shown.
    pub(super) fn record(&self, record: &Run) {
        if let Some(run) = &mut self.seen().run {
            run.run = record.run.clone();
            run.backup.clone_from(&record.backup);
            run.label.clone_from(&record.label);
        }
        self.publish();
    }

    /// Shows nothing any more.
    pub(super) fn hide(&self) {
        let mut seen = self.seen();
        seen.run = None;
        if let Some((state, policy)) = &self.state {
            state.with_policy(policy, |p| p.current = None);
        }
    }

    /// Writes what was seen into the state; while it is locked, so that nothing is shown after [`Watch::hide`].
    fn publish(&self) {
        let Some((state, policy)) = &self.state else { return };
        let seen = self.seen();
        let Some(run) = seen.run.clone() else { return };
        let current = CurrentRun {
            stage: seen.stage.clone(),
            stage_started_at: seen.since,
            bytes: seen.bytes,
            total_bytes: seen.total,
            progress_at: seen.moved_at,
            ..run
        };
        state.with_policy(policy, |p| p.current = Some(current));
    }

    /// Stops `work` when it does not move, or not for longer than `deadline` in all, until the guard is dropped.
    pub(super) fn guard(self: &Arc<Self>, work: Shutdown, limits: Limits, deadline: Duration) -> DropGuard {
        let token = CancellationToken::new();
        let (this, stop, total) = (Arc::clone(self), token.clone(), Stopwatch::start());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = this.clock.sleep(limits.look) => {}
                }
                this.publish();
                let (stage, idle) = {
                    let seen = this.seen();
                    (seen.stage.clone(), seen.idle.elapsed())
                };
                if let Some(why) = why(&stage, idle, total.elapsed(), limits, deadline) {
                    work.cancel_because(why);
                    return;
                }
            }
        });
        token.drop_guard()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a run has to be stopped, if it has.
fn why(
    stage: &str,
    idle: Duration,
    total: Duration,
    limits: Limits,
    deadline: Duration,
) -> Option<impl Fn() -> Error + Send + Sync + use<>> {
    let (message, hint) = if total >= deadline {
        let took = format_duration(deadline);
        (
            format!("the run was stopped because it took longer than {took}; it was at '{stage}'"),
            "raise schedule.deadline if runs may take that long",
        )
    } else {
        let limit = limits.of(stage).filter(|limit| idle >= *limit)?;
        (
            format!("stage '{stage}' showed no progress for {}", format_duration(limit)),
            "a lock, a server or a store holds it up; `pgkeep doctor` talks to both",
        )
    };
    Some(move || Error::unavailable(message.clone()).hint(hint))
}

impl Progress for Watch {
    fn stage(&self, name: &str, total: Option<u64>) {
        {
            let (mut seen, now) = (self.seen(), self.clock.now());
            name.clone_into(&mut seen.stage);
            (seen.since, seen.bytes, seen.total, seen.moved_at, seen.idle) = (now, 0, total, now, Stopwatch::start());
        }
        self.publish();
        self.inner.stage(name, total);
    }

    fn advance(&self, bytes: u64) {
        {
            let mut seen = self.seen();
            seen.bytes += bytes;
            seen.moved_at = self.clock.now();
            seen.idle = Stopwatch::start();
        }
        self.inner.advance(bytes);
    }

    fn note(&self, line: &str) {
        self.seen().idle = Stopwatch::start();
        self.inner.note(line);
    }

    fn finish(&self) {
        self.inner.finish();
    }
}
