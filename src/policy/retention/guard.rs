//! When nothing may be marked, or deleted, whatever the rules say.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::BackupFacts;
use crate::base::ids::{BackupId, RunId};
use crate::base::units::format_duration;
use crate::base::{Error, clock};

/// How the last backup run of a vault ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    /// The run.
    pub id: RunId,
    /// Whether it made a backup that is complete.
    pub succeeded: bool,
}

/// Why no backup may be marked now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// The last backup run failed.
    LastRunFailed {
        /// The run.
        run: String,
    },
    /// The newest backup looks wrong and nobody acknowledged it.
    NewestAnomalous {
        /// The backup.
        backup: BackupId,
    },
    /// No backup is complete and free of suspicion.
    NoGoodBackup,
    /// The newest good backup is older than the policy promises.
    Stale {
        /// The backup.
        backup: BackupId,
        /// Its age, in seconds.
        age_seconds: u64,
        /// The promise, in seconds.
        max_age_seconds: u64,
    },
    /// More than half of the backups would go.
    TooLarge {
        /// Backups that would go.
        dropped: usize,
        /// Backups there are.
        total: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = |seconds: u64| format_duration(Duration::from_secs(seconds));
        match self {
            Self::LastRunFailed { run } => write!(f, "nothing is pruned now: the last backup run, {run}, failed"),
            Self::NewestAnomalous { backup } => {
                write!(f, "nothing is pruned now: the newest backup, {backup}, is anomalous and not acknowledged")
            }
            Self::NoGoodBackup => f.write_str("nothing is pruned now: there is no good backup"),
            Self::Stale { backup, age_seconds, max_age_seconds } => write!(
                f,
                "nothing is pruned now: the newest good backup, {backup}, is {} old and the policy promises {}",
                duration(*age_seconds),
                duration(*max_age_seconds)
            ),
            Self::TooLarge { dropped, total } => write!(f, "the plan removes {dropped} of {total} backups, more than half"),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let hint = match &refusal {
            Refusal::TooLarge { .. } => "look at `pgkeep prune POLICY --plan`; if it is right, add --force-large to --yes",
            Refusal::NewestAnomalous { .. } => {
                "look at `pgkeep show POLICY`; old backups stay until it is acknowledged or a good one is made"
            }
            Refusal::LastRunFailed { .. } | Refusal::NoGoodBackup | Refusal::Stale { .. } => {
                "make a good backup first: `pgkeep backup POLICY`; old ones stay until then"
            }
        };
        Self::gate(refusal.to_string()).hint(hint)
    }
}

/// R2: whether backups may be marked now. Not after a failed or anomalous run, and not while the newest good backup is older than `max_age`: then
/// every old backup may be needed.
pub fn may_mark(
    backups: &[BackupFacts],
    last_run: Option<&LastRun>,
    max_age: Option<Duration>,
    now: Timestamp,
) -> Result<(), Refusal> {
    if let Some(run) = last_run.filter(|r| !r.succeeded) {
        return Err(Refusal::LastRunFailed { run: run.id.to_string() });
    }
    may_sweep(backups)?;
    let good = newest(backups, BackupFacts::counts).ok_or(Refusal::NoGoodBackup)?;
    let age = clock::elapsed(good.consistent_at, now);
    match max_age {
        Some(max_age) if age > max_age => {
            Err(Refusal::Stale { backup: good.id.clone(), age_seconds: age.as_secs(), max_age_seconds: max_age.as_secs() })
        }
        _ => Ok(()),
    }
}

/// Whether backups that were marked earlier, and whose grace is over, may be deleted although the last run failed: for want of room, that these take.
/// Better backups were there when they were marked. It takes a good backup that stays, and none newer that nobody understands.
pub fn may_sweep(backups: &[BackupFacts]) -> Result<(), Refusal> {
    if let Some(backup) = newest(backups, |_| true).filter(|b| b.anomalous) {
        return Err(Refusal::NewestAnomalous { backup: backup.id.clone() });
    }
    newest(backups, BackupFacts::counts).map(drop).ok_or(Refusal::NoGoodBackup)
}

fn newest(backups: &[BackupFacts], wanted: impl Fn(&BackupFacts) -> bool) -> Option<&BackupFacts> {
    backups.iter().filter(|b| wanted(b)).max_by(|a, b| (a.committed_at, &a.id).cmp(&(b.committed_at, &b.id)))
}
