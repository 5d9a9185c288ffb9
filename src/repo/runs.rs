//! The history of attempts, failed ones too.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document;
use super::head::Head;
use super::lease::Lease;
use super::readers::{self, ReaderMark};
use super::vault::Vault;
use crate::base::clock::{elapsed, sub};
use crate::base::ids::{BackupId, RunId};
use crate::base::limits::{READER_TTL, STORE_CONCURRENCY};
use crate::base::{Error, Kind, Result, ResultExt};
use crate::store::Key;

/// How far back a starting run looks for stale ones.
const STALE_LOOKBACK: usize = 200;
/// Records that are read first when one is looked for: a few days of nightly runs.
const FIRST_RUNS: usize = 16;
/// Age up to which runs are listed before all others.
const RECENT: Duration = Duration::from_secs(32 * 24 * 3600);

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// Makes a backup; holds the lease.
    Backup,
    /// Verifies a backup; holds a reader mark.
    Verify,
    /// Removes backups; holds the lease.
    Prune,
    /// Restores a backup; holds a reader mark.
    Restore,
}

impl RunKind {
    /// Its name in documents and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Verify => "verify",
            Self::Prune => "prune",
            Self::Restore => "restore",
        }
    }
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Not ended, or killed and not yet noticed.
    Running,
    /// Did what it should.
    Succeeded,
    /// Failed; the record says why.
    Failed,
    /// Interrupted.
    Cancelled,
}

impl RunState {
    /// Its name in documents and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// Name of the error's kind.
    pub kind: String,
    /// The sentence.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether there was no room for more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over_quota: bool,
}

/// Who wanted a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// Somebody on the command line, or a program there.
    Command,
    /// The daemon, because a slot was due, or after a run that was for one.
    Schedule,
    /// Somebody by the daemon's API.
    Api,
}

/// What ended a run that did not end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    /// Its process was asked to stop.
    Shutdown,
    /// Somebody who did not want it.
    Operator,
    /// Its process vanished; somebody else noticed.
    Killed,
}

/// What a hook did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookRun {
    /// `before`, `after`, `on_failure` or `finally`; `freeze` or `thaw` around snapshots.
    pub hook: String,
    /// Its exit code; `None`: it could not be started, was killed by a signal, or took too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// The end of what it wrote, secrets masked.
    pub output: String,
}

/// One stage of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStage {
    /// Name.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// Bytes that went through it.
    pub bytes: u64,
}

/// `runs/<run>.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id; a backup has the id of its run.
    pub run: RunId,
    /// What it does.
    pub kind: RunKind,
    /// How far it came.
    pub state: RunState,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Who wanted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// The slot of the schedule that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Timestamp>,
    /// How many runs for this slot failed before it, plus one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// When its backup was committed: there is a backup, whatever `state` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<Timestamp>,
    /// What ended it, if it did not end by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
    /// What the user called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Where it ran.
    pub host: String,
    /// The vault that it is a run of, as its store names it. A copy of the vault has this record too, and is not that vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<String>,
    /// Regions of AWS in which it may leave snapshots, those of copies included.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub regions: BTreeSet<String>,
    /// The backup that it made, verified or restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupId>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    /// Its stages, in order.
    #[serde(default)]
    pub stages: Vec<RunStage>,
    /// What its hooks did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookRun>,
    /// What else was measured; opaque here.
    #[serde(default)]
    pub stats: serde_json::Value,
}

impl Run {
    /// A run that starts now.
    pub fn start(run: RunId, kind: RunKind, now: Timestamp, host: &str, label: Option<&str>) -> Self {
        Self {
            run,
            kind,
            state: RunState::Running,
            started_at: now,
            finished_at: None,
            trigger: None,
            slot: None,
            attempt: None,
            committed_at: None,
            ended_by: None,
            hooks: Vec::new(),
            label: label.map(str::to_owned),
            host: host.to_owned(),
            vault: None,
            regions: BTreeSet::new(),
            backup: None,
            error: None,
            stages: Vec::new(),
            stats: serde_json::Value::Null,
        }
    }

    /// Ends with this outcome.
    pub fn end(&mut self, now: Timestamp, outcome: Result<(), &Error>) {
        self.finished_at = Some(now);
        self.state = match outcome {
            Ok(()) => RunState::Succeeded,
            Err(e) if e.kind() == Kind::Cancelled => RunState::Cancelled,
            Err(_) => RunState::Failed,
        };
        self.error = outcome.err().map(|e| RunError {
            kind: e.kind().name().to_owned(),
            message: e.full_message(),
            hint: e.hint_text().map(str::to_owned),
            over_quota: e.is_over_quota(),
        });
    }

    /// Writes the record, over an earlier state of itself.
    pub async fn save(&self, vault: &Vault) -> Result<()> {
        document::overwrite(vault.store.as_ref(), &vault.layout.run(&self.run), self).await
    }
}

/// The record of this run; `Ok(None)` when there is none.
pub async fn find(vault: &Vault, run: &RunId) -> Result<Option<Run>> {
    document::find(vault.store.as_ref(), &vault.layout.run(run)).await
}

/// The newest run that passes `wanted`, however far back.
pub async fn newest_where(vault: &Vault, wanted: impl Fn(&Run) -> bool) -> Result<Option<Run>> {
    for span in [Span::Recent, Span::All] {
        let mut keys = keys(vault, span).await?;
        let mut count = FIRST_RUNS;
        while !keys.is_empty() {
            if let Some(found) = read(vault, take_newest(&mut keys, count)).await?.into_iter().find(&wanted) {
                return Ok(Some(found));
            }
            count = STORE_CONCURRENCY;
        }
    }
    Ok(None)
}

/// The newest `limit` runs, newest first; a record that cannot be read is left out.
pub async fn newest(vault: &Vault, limit: usize) -> Result<Vec<Run>> {
    let mut keys = keys(vault, Span::All).await?;
    let mut runs = read(vault, take_newest(&mut keys, limit)).await?;
    runs.truncate(limit);
    Ok(runs)
}

/// How much of the history is listed: a listing gives the oldest first, a thousand a request.
#[derive(Clone, Copy)]
enum Span {
    /// What began within [`RECENT`].
    Recent,
    All,
}

/// Keys of run records, oldest first.
async fn keys(vault: &Vault, span: Span) -> Result<Vec<Key>> {
    let prefix = vault.layout.runs();
    let after = match span {
        Span::Recent => vault.layout.runs_from(sub(vault.clock.now(), RECENT)),
        Span::All => prefix.clone(),
    };
    let listed = vault.store.list_after(&prefix, &after).map_ok(|meta| meta.key).try_collect();
    listed.await.map_err(Error::from).context(|| format!("list the runs of {}", vault.describe()))
}

/// Records of runs that ended, which change no more: what a reader that looks again and again need not fetch again.
#[derive(Debug, Default)]
pub struct Known(HashMap<Key, Run>);

/// The same as [`newest`], fetching only what `known` does not have; `known` is then what was found.
pub async fn newest_unless(vault: &Vault, limit: usize, known: &mut Known) -> Result<Vec<Run>> {
    let mut keys = keys(vault, Span::All).await?;
    let wanted = take_newest(&mut keys, limit);
    known.0.retain(|key, _| wanted.contains(key));
    let missing: Vec<Key> = wanted.into_iter().filter(|key| !known.0.contains_key(key)).collect();
    let found = read(vault, missing).await?;
    let mut runs: Vec<Run> = known.0.values().chain(&found).cloned().collect();
    known.0.extend(found.into_iter().filter(|r| r.state != RunState::Running).map(|r| (vault.layout.run(&r.run), r)));
    sort(&mut runs);
    runs.truncate(limit);
    Ok(runs)
}

fn sort(newest_first: &mut [Run]) {
    newest_first.sort_by(|a, b| (b.started_at, &b.run).cmp(&(a.started_at, &a.run)));
}

/// Takes the last `count` keys, and all others of the second in which the first of them began: the ids of one second have no order.
fn take_newest(keys: &mut Vec<Key>, count: usize) -> Vec<Key> {
    let second = |key: &Key| key.as_str().rsplit_once('-').map(|(second, _)| second.to_owned());
    let first = keys.len().saturating_sub(count);
    let start = keys.get(first).map_or(0, |key| {
        let wanted = second(key);
        keys[..first].iter().rposition(|k| second(k) != wanted).map_or(0, |before| before + 1)
    });
    keys.split_off(start)
}

/// The records of `keys`, the newest first.
async fn read(vault: &Vault, keys: Vec<Key>) -> Result<Vec<Run>> {
    let mut runs = futures::stream::iter(keys)
        .map(|key| async move {
            match document::find::<Run>(vault.store.as_ref(), &key).await {
                Err(e) if e.kind() == Kind::Integrity => {
                    tracing::warn!(%key, error = %e, "a run record is damaged");
                    Ok(None)
                }
                other => other,
            }
        })
        .buffered(STORE_CONCURRENCY);
    let mut found = Vec::new();
    while let Some(run) = runs.next().await {
        found.extend(run?);
    }
    sort(&mut found);
    Ok(found)
}

/// When the backup of a run was committed, if it was.
async fn committed(vault: &Vault, run: &Run) -> Result<Option<Timestamp>> {
    let Some(backup) = run.backup.as_ref().filter(|_| run.kind == RunKind::Backup) else { return Ok(None) };
    let head = document::find::<Head>(vault.store.as_ref(), &vault.layout.head(backup)).await;
    match head {
        Err(e) if e.kind() == Kind::Integrity => Ok(None),
        head => Ok(head?.map(|h| h.committed_at)),
    }
}

/// Ends the records of runs that say they run but cannot: those that need the lease, which `_held` proves nobody else has, and
/// readers whose mark expired. `own` is left alone. Returns their ids. Looks back until it meets a run that held the lease and succeeded, since
/// that one did the same, and at [`FIRST_RUNS`] in any case.
pub async fn fail_stale(vault: &Vault, _held: &Lease, own: &RunId) -> Result<Vec<RunId>> {
    let (marks, recent) = tokio::try_join!(readers::all(vault), keys(vault, Span::Recent))?;
    let is_own = |key: &Key| *key == vault.layout.run(own);
    // After a long silence the last run may be the one that was killed.
    let mut keys = if recent.iter().all(is_own) { keys(vault, Span::All).await? } else { recent };
    keys.retain(|key| !is_own(key));
    let (mut failed, mut seen) = (Vec::new(), 0);
    while !keys.is_empty() && seen < STALE_LOOKBACK {
        let runs = read(vault, take_newest(&mut keys, FIRST_RUNS)).await?;
        seen += runs.len().max(1);
        let held = |r: &Run| matches!(r.kind, RunKind::Backup | RunKind::Prune) && r.state == RunState::Succeeded;
        let cleaned = runs.iter().any(held);
        for run in runs {
            failed.extend(fail_if_stale(vault, run, &marks).await?);
        }
        if cleaned {
            break;
        }
    }
    Ok(failed)
}

async fn fail_if_stale(vault: &Vault, mut run: Run, marks: &[ReaderMark]) -> Result<Option<RunId>> {
    let now = vault.clock.now();
    let reads = matches!(run.kind, RunKind::Verify | RunKind::Restore);
    let alive =
        reads && (elapsed(run.started_at, now) < READER_TTL || marks.iter().any(|m| m.id == run.run && m.expires_at > now));
    if run.state != RunState::Running || alive {
        return Ok(None);
    }
    run.ended_by = Some(EndedBy::Killed);
    // Killed between the commit of its backup and the end of its record: the backup is there.
    run.committed_at = committed(vault, &run).await?.or(run.committed_at);
    match run.committed_at {
        Some(_) => run.end(now, Ok(())),
        None => run.end(now, Err(&Error::internal("the process ended without saying how; it was probably killed"))),
    }
    run.save(vault).await?;
    Ok(Some(run.run))
}
