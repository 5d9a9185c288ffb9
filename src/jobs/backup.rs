//! Backs a policy's databases up.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::context::{Context, Place};
use super::due::{self, Claim};
use super::export::{Databased, databases};
use super::list::Proofs;
use super::references;
use super::run::{self, Order, Recorder, fail_stale, under_lease};
use super::snapshot::{self, Snapshots};
use super::source::SourceSummary;
use crate::base::clock::Stopwatch;
use crate::base::ids::{BackupId, RunId};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Kind, Result};
use crate::pg::connect::Target;
use crate::policy::Policy;
use crate::policy::model::{PostgresSource, Source};
use crate::repo::commit::Commit;
use crate::repo::head::{Counts, Head};
use crate::repo::lease::{Lease, Purpose};
use crate::repo::listing::Ids;
use crate::repo::proofs::{Level, Proof};
use crate::repo::runs::RunKind;
use crate::repo::writer::Writer;
use crate::repo::{Vault, pins, proofs};

/// What the user asks of one backup.
#[derive(Debug, Clone, Default)]
pub struct BackupOptions {
    /// A name to find it by.
    pub label: Option<String>,
    /// Protect it from retention.
    pub pin: bool,
    /// Retention keeps it at least this long.
    pub keep_for: Option<Duration>,
    /// Who wants it.
    pub order: Order,
}

/// What a backup is and what making it took.
#[derive(Debug, Clone, Serialize)]
pub struct BackupReport {
    /// The policy.
    pub policy: String,
    /// The backup.
    pub backup: BackupId,
    /// Where it is.
    pub vault: String,
    /// The instant that it shows.
    pub consistent_at: Timestamp,
    /// When it became a backup.
    pub committed_at: Timestamp,
    /// What the user called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// What was backed up.
    pub source: SourceSummary,
    /// Sizes and numbers.
    pub counts: Counts,
    /// Requests to the store.
    pub requests: u64,
    /// Why it is suspicious.
    pub anomalies: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl BackupReport {
    /// An anomalous backup is kept, and fails the command.
    pub fn failure(&self) -> Option<Error> {
        (!self.anomalies.is_empty()).then(|| {
            Error::integrity(format!("backup {} is suspicious: {}", self.backup, self.anomalies.join("; "))).hint(format!(
                "it is kept, but retention does not count it; if it is as it should be: pgkeep pin {} {} --reason \"…\"",
                self.policy, self.backup
            ))
        })
    }
}

/// What is backed up, ready to be asked.
enum Subject<'a> {
    Postgres { source: &'a PostgresSource, target: Box<Target> },
    Snapshots(Box<dyn Snapshots>),
}

impl<'a> Subject<'a> {
    async fn of(cx: &Context, policy: &'a Policy) -> Result<Self> {
        match &policy.source {
            Source::Postgres(source) => {
                references::fetch(&source.url, &cx.env).await?;
                Ok(Self::Postgres { source, target: Box::new(Target::parse(&source.url(&cx.env)?)?) })
            }
            Source::Ebs(_) | Source::Rds(_) => Ok(Self::Snapshots(snapshot::of_policy(cx, policy)?)),
        }
    }

    /// Whether it is there, and for PostgreSQL the names of the databases.
    async fn look(&self) -> Result<Vec<String>> {
        match self {
            Self::Postgres { source, target } => databases(source, target).await,
            Self::Snapshots(snapshots) => snapshots.look().await.map(|()| Vec::new()),
        }
    }

    async fn run(&self, work: &Work<'_>, databases: &[String], recorder: &mut Recorder) -> Result<Head> {
        match self {
            Self::Postgres { source, target } => Databased { source, target, databases }.run(work, recorder).await,
            Self::Snapshots(snapshots) => snapshot::backup::run(work, snapshots.as_ref(), recorder).await,
        }
    }
}

/// Backs up now.
pub async fn backup(cx: &Context, name: &str, options: &BackupOptions) -> Result<BackupReport> {
    let watch = Stopwatch::start();
    let place = cx.place(name).await?;
    let policy = place.policy()?;
    let id = BackupId::from(&options.order.id(cx));
    let subject = match (options.order.slot, cx.shutdown.guard(Subject::of(cx, policy)).await) {
        // A variable that somebody's shell lacks is no failed run; what AWS refuses, or does not answer, is one.
        (None, Err(error)) if matches!(error.kind(), Kind::Denied | Kind::Unavailable) => {
            return Err(record_failure(cx, &place, &id, options, error).await);
        }
        (None, Err(error)) => return Err(error),
        (_, subject) => subject,
    };
    // The source before the lease: a wrong password must not keep others out, nor leave an empty vault behind. A run for a slot claims that first,
    // so that the tries of two daemons are not counted twice; its vault is there already.
    let found = match (options.order.slot, &subject) {
        (None, Ok(subject)) => match cx.shutdown.guard(subject.look()).await {
            Ok(found) => Some(found),
            Err(error) => return Err(record_failure(cx, &place, &id, options, error).await),
        },
        _ => None,
    };
    let (vault, new_vault) = open_or_create(cx, &place, policy).await?;
    let (place_of, id) = (&vault, &id);
    let head = under_lease(cx, place_of, "backup", Purpose::Write, |lease, shutdown| async move {
        let vault = place_of;
        let run = RunId::from(id);
        let claim = match options.order.slot {
            Some(slot) => Some(due::claim(cx, vault, &lease, policy, RunKind::Backup, slot, &run).await?),
            None => None,
        };
        let mut recorder = start(cx, vault, Some(policy), id, options, claim).await?;
        let outcome = shutdown.bound(async {
            let subject = subject?;
            let found = match found {
                Some(found) => found,
                None => shutdown.guard(subject.look()).await?,
            };
            let work = Work { cx, new_vault, vault, policy, id, options, lease: &lease, shutdown: &shutdown };
            subject.run(&work, &found, &mut recorder).await
        });
        let outcome = outcome.await;
        let suspicious = |head: &Head| {
            (!head.anomalies.is_empty()).then(|| Error::integrity(format!("suspicious: {}", head.anomalies.join("; "))))
        };
        recorder.end(outcome, suspicious).await
    })
    .await?;
    cx.progress.finish();
    report(&place, &vault, head, options.pin, watch.elapsed())
}

/// The policy's vault, and whether it was made now.
async fn open_or_create(cx: &Context, place: &Place, policy: &Policy) -> Result<(Vault, bool)> {
    match Vault::open(place.store.clone(), &place.name, cx.clock.clone()).await {
        Err(error) if error.kind() == Kind::NotFound => {}
        opened => return Ok((opened?, false)),
    }
    let text = policy.text_without_secrets();
    Ok((Vault::open_or_create(place.store.clone(), &place.name, text, cx.clock.clone()).await?, true))
}

/// A run that fails before it has the lease is a failed run all the same, where there is a vault to say so in.
async fn record_failure(cx: &Context, place: &Place, id: &BackupId, options: &BackupOptions, error: Error) -> Error {
    let Ok(vault) = Vault::open(place.store.clone(), &place.name, cx.clock.clone()).await else {
        return error;
    };
    match start(cx, &vault, place.policy.as_ref(), id, options, None).await {
        Ok(recorder) => {
            recorder.end::<()>(Err(error), |()| None).await.err().unwrap_or_else(|| Error::internal("the failure was lost"))
        }
        Err(unsaved) => {
            tracing::warn!(error = %unsaved, "the run record could not be written");
            error
        }
    }
}

async fn start(
    cx: &Context,
    vault: &Vault,
    policy: Option<&Policy>,
    id: &BackupId,
    options: &BackupOptions,
    claim: Option<Claim>,
) -> Result<Recorder> {
    let mut record = run::record(cx, &options.order, RunId::from(id), RunKind::Backup, claim);
    record.label.clone_from(&options.label);
    record.backup = Some(id.clone());
    // Before the first snapshot: whoever finds this run killed may have a policy of other regions.
    record.regions = policy.map(|p| p.source.regions()).unwrap_or_default();
    Recorder::start(cx, vault, record).await
}

fn report(place: &Place, vault: &Vault, head: Head, pinned: bool, took: Duration) -> Result<BackupReport> {
    Ok(BackupReport {
        policy: place.name.clone(),
        vault: vault.describe(),
        pinned,
        seconds: took.as_secs_f64(),
        source: SourceSummary::of(&head)?,
        requests: place.meter.usage().requests(),
        backup: head.backup,
        consistent_at: head.consistent_at,
        committed_at: head.committed_at,
        label: head.label,
        counts: head.counts,
        anomalies: head.anomalies,
        warnings: head.warnings,
    })
}

/// What backups of every kind work with, under the lease.
pub(super) struct Work<'a> {
    pub(super) cx: &'a Context,
    pub(super) new_vault: bool,
    pub(super) vault: &'a Vault,
    pub(super) policy: &'a Policy,
    pub(super) id: &'a BackupId,
    pub(super) options: &'a BackupOptions,
    pub(super) lease: &'a Arc<Lease>,
    pub(super) shutdown: &'a Shutdown,
}

impl Work<'_> {
    /// Gets ready to write: the writer, and what the source was last known to be.
    pub(super) async fn begin(&self) -> Result<(Writer, Option<Head>)> {
        let run = RunId::from(self.id);
        let begin = Writer::begin(self.vault, self.lease, self.id.clone(), self.cx.progress.clone(), self.shutdown.clone());
        let (writer, stale, last_good, ()) = tokio::try_join!(
            begin,
            self.fail_stale(&run),
            self.last_good(),
            self.vault.record_policy_text(self.policy.text_without_secrets()),
        )?;
        for stale in stale {
            tracing::info!(run = %stale, "an earlier run was killed; its record says so now");
        }
        Ok((writer, last_good))
    }

    /// A run for a slot has done so when it claimed it.
    async fn fail_stale(&self, own: &RunId) -> Result<Vec<RunId>> {
        if self.options.order.slot.is_some() {
            return Ok(Vec::new());
        }
        fail_stale(self.vault, self.lease, own).await
    }

    /// A warning for those who did not mean to make a vault.
    pub(super) fn first_of_vault(&self) -> Option<String> {
        self.new_vault.then(|| format!("this is the first backup in a new vault at {}", self.vault.describe()))
    }

    /// Makes the backup exist, proven present and pinned if that was asked for.
    pub(super) async fn commit(&self, writer: Writer, commit: Commit, recorder: &mut Recorder) -> Result<Head> {
        recorder.stage("commit");
        self.cx.progress.stage("commit", None);
        let head = writer.commit(commit).await?;
        recorder.committed(head.committed_at);
        recorder.stats(serde_json::to_value(head.counts).unwrap_or_default());
        recorder.stage("proof");
        // The backup exists: what is said about it beyond that must not make the run look failed.
        if let Err(error) = self.prove(&head).await {
            tracing::warn!(%error, "the proof of presence could not be written; verify the backup");
        }
        if self.options.pin
            && let Err(error) =
                pins::pin(self.vault, self.id, self.options.label.as_deref(), &self.cx.owner("backup").to_string()).await
        {
            return Err(error.context(format!("backup {} is complete, but could not be pinned", self.id)));
        }
        Ok(head)
    }

    /// What the source was last known to be: the newest backup that was drilled, or that was suspicious and somebody said that it is right; else the
    /// newest that is not suspicious.
    async fn last_good(&self) -> Result<Option<Head>> {
        let (ids, proofs, pins) = tokio::try_join!(Ids::read(self.vault), Proofs::read(self.vault), pins::all(self.vault))?;
        let suspicious = |h: &Head| !h.anomalies.is_empty();
        let pinned = |id: &BackupId| pins.iter().any(|p| p.backup == *id);
        let drilled = |id: &BackupId| proofs.level(id) >= Some(Level::Restore);
        let judged = |h: &Head| if suspicious(h) { pinned(&h.backup) } else { drilled(&h.backup) };
        let judged = ids.newest(|id| pinned(id) || drilled(id), judged).await?;
        match judged {
            None => ids.newest(|_| true, |h| !suspicious(h)).await,
            judged => Ok(judged),
        }
    }

    /// The commit has just had the store list every part with its size, and each snapshot has just been seen complete: the proof of presence.
    async fn prove(&self, head: &Head) -> Result<()> {
        let proof = Proof {
            backup: head.backup.clone(),
            level: Level::Presence,
            at: self.cx.clock.now(),
            passed: true,
            seconds: 0.0,
            tool: super::tool(),
            findings: Vec::new(),
            details: serde_json::json!({ "by": "commit", "parts": head.counts.parts, "objects": head.counts.objects }),
        };
        proofs::record(self.vault, &proof).await
    }
}
