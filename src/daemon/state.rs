//! What the daemon knows at this moment, for pages, metrics and the service manager.
//!
//! The scheduler writes, everybody else reads. [`State`] is a handle that is cheap to clone; [`State::snapshot`] copies what it holds under a
//! short lock, so that a reader never waits for a store and never holds the scheduler up. Nothing secret is in it: every type may be sent as JSON.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::base::ids::{BackupId, RunId};
use crate::jobs::health::PolicyStatus;
use crate::repo::lease::Holder;
use crate::repo::runs::{Run, RunKind, RunState};

/// A handle to the daemon's state.
#[derive(Debug, Clone)]
pub struct State(Arc<Mutex<Snapshot>>);

/// Everything, at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// pgkeep's version.
    pub version: &'static str,
    /// This machine.
    pub host: String,
    /// When the daemon started.
    pub started_at: Timestamp,
    /// When the scheduler's loop last went round; older than two minutes: it does not live.
    pub alive_at: Timestamp,
    /// Whether SIGTERM came: nothing starts any more.
    pub stopping: bool,
    /// Runs that may go on at the same time.
    pub max_runs: usize,
    /// How the policies were last loaded; `None` until they first were.
    pub reload: Option<Reload>,
    /// Policies whose run waits because `max_runs` others go on, first in line first.
    pub queue: Vec<String>,
    /// The policies, by name.
    pub policies: BTreeMap<String, PolicyState>,
}

/// One attempt to load the policies, at start or by SIGHUP.
#[derive(Debug, Clone, Serialize)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// Whether the files were good. If not, the policies loaded before stay in force.
    pub ok: bool,
    /// What is wrong with them.
    pub error: Option<String>,
    /// When policies were last loaded successfully.
    pub loaded_at: Option<Timestamp>,
}

/// One policy.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PolicyState {
    /// One line for people.
    pub description: Option<String>,
    /// The policy's promise, in seconds.
    pub max_age_seconds: Option<u64>,
    /// Its health, `None` until the vault was first read. `age_seconds` and `healthy` are those of `checked_at`: compute the age at another
    /// moment from `consistent_at`.
    pub status: Option<PolicyStatus>,
    /// When `status` was read from the vault.
    pub checked_at: Option<Timestamp>,
    /// Why the vault could not be read when it was last tried; `status` is then what was known before.
    pub error: Option<String>,
    /// The run that goes on in this daemon.
    pub current: Option<CurrentRun>,
    /// Place in [`Snapshot::queue`], from 1.
    pub queued: Option<usize>,
    /// Who holds the vault's lease, as last seen; `None`: nobody. `ours` says whether it is this process.
    pub lease: Option<Holder>,
    /// The schedule of backups; `None`: only on command.
    pub backup: Option<SlotState>,
    /// The schedule of verifications; `None`: only on command.
    pub verify: Option<SlotState>,
    /// The newest record of each kind of run that ended, whoever made it. A backup's `stats` are the counts of its head.
    pub last: BTreeMap<RunKind, Run>,
    /// The newest backup run that succeeded, whoever made it.
    pub last_success: Option<Run>,
    /// Runs of this daemon since it started, by kind and outcome.
    pub runs: Vec<RunCount>,
    /// Scheduled runs of this daemon that were tries after a failed one.
    pub retries: u64,
    /// Notifications that could not be sent and are not given up.
    pub notifications_pending: u64,
    /// Notifications that were given up since the daemon started.
    pub notifications_failed: u64,
}

/// Runs of one kind with one outcome.
#[derive(Debug, Clone, Serialize)]
pub struct RunCount {
    /// What they did.
    pub kind: RunKind,
    /// How they ended.
    pub state: RunState,
    /// How many.
    pub count: u64,
}

/// A run that goes on.
#[derive(Debug, Clone, Serialize)]
pub struct CurrentRun {
    /// Its id, also that of its record; a backup has it too.
    pub run: RunId,
    /// What it does.
    pub kind: RunKind,
    /// The slot that it covers; `None`: somebody asked for it.
    pub slot: Option<Timestamp>,
    /// What the user called it.
    pub label: Option<String>,
    /// The backup that is verified; a backup run's own id.
    pub backup: Option<BackupId>,
    /// What it is at: `waiting` before the first stage.
    pub stage: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When the stage began.
    pub stage_started_at: Timestamp,
    /// Bytes done in the stage.
    pub bytes: u64,
    /// Bytes of the stage, if known.
    pub total_bytes: Option<u64>,
    /// When the run last showed progress.
    pub progress_at: Timestamp,
}

/// Where a schedule stands.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SlotState {
    /// The last slot that a run covered; `None`: none yet.
    pub covered_until: Option<Timestamp>,
    /// The slot that is due and not covered.
    pub due: Option<Timestamp>,
    /// When a run for `due` starts or is tried again; `None` with a slot due: it was given up, or a run goes on.
    pub starts_at: Option<Timestamp>,
    /// Runs for `due` that failed.
    pub failed_attempts: u32,
    /// Why `due` is not tried again.
    pub given_up: Option<String>,
    /// Slots before `due` that no run covers; one run will cover them all.
    pub missed: u64,
    /// The first slot to come.
    pub next: Option<Timestamp>,
}

impl State {
    /// Of a daemon that starts now.
    pub fn new(host: &str, now: Timestamp, max_runs: usize) -> Self {
        Self(Arc::new(Mutex::new(Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            host: host.to_owned(),
            started_at: now,
            alive_at: now,
            stopping: false,
            max_runs,
            reload: None,
            queue: Vec::new(),
            policies: BTreeMap::new(),
        })))
    }

    /// A copy of everything.
    pub fn snapshot(&self) -> Snapshot {
        self.with(|state| state.clone())
    }

    /// A copy of one policy's part.
    pub fn policy(&self, name: &str) -> Option<PolicyState> {
        self.with(|state| state.policies.get(name).cloned())
    }

    /// Reads or changes the state; `f` must not wait for anything.
    pub fn with<T>(&self, f: impl FnOnce(&mut Snapshot) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same for one policy; nothing happens when it is not there (any more).
    pub fn with_policy(&self, name: &str, f: impl FnOnce(&mut PolicyState)) {
        self.with(|state| {
            if let Some(policy) = state.policies.get_mut(name) {
                f(policy);
            }
        });
    }
}

impl PolicyState {
    /// Counts a run that ended.
    pub fn count(&mut self, kind: RunKind, state: RunState) {
        match self.runs.iter_mut().find(|r| r.kind == kind && r.state == state) {
            Some(entry) => entry.count += 1,
            None => self.runs.push(RunCount { kind, state, count: 1 }),
        }
    }
}
