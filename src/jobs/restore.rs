//! Restores a backup: choose, plan, show, do.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::context::{Context, Place};
use super::list::Proofs;
use super::mark::Mark;
use super::references;
use super::run::{self, Order, Recorder};
use super::select::Choice;
use super::sink::VaultSource;
use super::source::SourceSummary;
use super::toc::Toc;
use crate::base::ids::{BackupId, RunId};
use crate::base::{Error, Result, limits};
use crate::pg::connect::Target;
use crate::pg::restore::{self, RestoreInput, RestoreOptions, RestoreOutcome, RestorePlan};
use crate::repo::Vault;
use crate::repo::head::Head;
use crate::repo::listing::Listing;
use crate::repo::proofs::Level;
use crate::repo::reader::BackupReader;
use crate::repo::runs::RunKind;

/// What the user asks.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// Which backup.
    pub choice: Choice,
    /// Where to: a URL or a reference to one.
    pub to: String,
    /// Which database of the backup.
    pub database: Option<String>,
    /// `OLD=NEW` for roles.
    pub role_map: Vec<String>,
    /// Parallel sessions, if given.
    pub jobs: Option<usize>,
    /// The rest.
    pub options: RestoreOptions,
}

/// One database's restore, planned and not yet done.
#[derive(Debug, Serialize)]
pub struct DatabasePlan {
    /// What will happen.
    #[serde(flatten)]
    pub plan: RestorePlan,
    #[serde(skip)]
    target: Target,
    #[serde(skip)]
    input: RestoreInput,
}

/// A restore that was looked at and not yet done; the backup is marked as being read.
#[derive(Debug, Serialize)]
pub struct PlannedRestore {
    /// The policy.
    pub policy: String,
    /// The backup.
    pub backup: BackupId,
    /// The instant that it shows: what came after it is not in it.
    pub consistent_at: Timestamp,
    /// Age of that instant, in seconds.
    pub loss_seconds: u64,
    /// What a person should know of the backup.
    pub backup_warnings: Vec<String>,
    /// The databases.
    pub databases: Vec<DatabasePlan>,
    #[serde(skip)]
    vault: Vault,
    #[serde(skip)]
    reader: BackupReader,
    #[serde(skip)]
    run: RunId,
    #[serde(skip)]
    mark: Mark,
}

impl PlannedRestore {
    /// Gives up without restoring.
    pub async fn abandon(self) {
        self.mark.end().await;
    }
}

/// One database's outcome.
#[derive(Debug, Serialize)]
pub struct DatabaseOutcome {
    /// Its name in the backup.
    pub database: String,
    /// Where it is now, without secrets.
    pub target: String,
    /// What happened.
    #[serde(flatten)]
    pub outcome: RestoreOutcome,
}

/// The document of `restore`.
#[derive(Debug, Serialize)]
pub struct RestoreReport {
    /// The policy.
    pub policy: String,
    /// The backup.
    pub backup: BackupId,
    /// The instant that it shows.
    pub consistent_at: Timestamp,
    /// Whether nothing of what was planned is missing.
    pub complete: bool,
    /// The databases.
    pub databases: Vec<DatabaseOutcome>,
}

impl RestoreReport {
    /// A restore that lost something fails the command.
    pub fn failure(&self) -> Option<Error> {
        if self.complete {
            return None;
        }
        let outcomes = || self.databases.iter().map(|d| &d.outcome);
        let (errors, skipped) =
            (outcomes().map(|o| o.errors.len()).sum::<usize>(), outcomes().map(|o| o.skipped.len()).sum::<usize>());
        let tables: usize = outcomes().map(|o| o.mismatches.len()).sum();
        let first = outcomes()
            .flat_map(|o| &o.errors)
            .next()
            .map(|e| format!("; the first: {}: {}", e.entry, e.message))
            .unwrap_or_default();
        Some(
            Error::integrity(format!(
                "the restore is not complete: {errors} errors, {skipped} objects not tried because of them, {tables} tables without all their rows{first}"
            ))
            .hint("each is named above; what was restored stays where it is, for you to look at or to drop"),
        )
    }
}

/// Chooses the backup, looks at the target, and says what would happen. Changes nothing but the reader mark.
pub async fn plan(cx: &Context, policy: &str, request: &RestoreRequest) -> Result<PlannedRestore> {
    let (place, vault) = cx.vault(policy).await?;
    let now = cx.clock.now();
    let listing = Listing::read(&vault).await?;
    let head = listing.find(&request.choice.selector(&place.zone(), now)?)?.clone();
    let source = SourceSummary::of(&head)?;
    if source.postgres().is_none() {
        return Err(Error::usage(format!(
            "backup {} is {}: it is not restored to a database's URL",
            head.backup,
            source.describe()
        ))
        .hint("volumes are restored with --to-zone, RDS instances with --to-instance"));
    }
    let run = RunId::generate(now);
    let mark = Mark::begin(&vault, &run, &head.backup, "restore", cx.owner("restore")).await?;
    match look(cx, &place, &vault, &head, &listing, request).await {
        Ok((reader, databases, backup_warnings)) => Ok(PlannedRestore {
            policy: place.name,
            loss_seconds: crate::base::clock::elapsed(head.consistent_at, now).as_secs(),
            consistent_at: head.consistent_at,
            backup_warnings,
            backup: head.backup,
            databases,
            vault,
            reader,
            run,
            mark,
        }),
        Err(error) => {
            mark.end().await;
            Err(error)
        }
    }
}

async fn look(
    cx: &Context,
    place: &Place,
    vault: &Vault,
    head: &Head,
    listing: &Listing,
    request: &RestoreRequest,
) -> Result<(BackupReader, Vec<DatabasePlan>, Vec<String>)> {
    let (reader, documents) = BackupReader::open_apart(vault, head).await?;
    let toc = Toc::parse(documents)?;
    let target = Target::parse(&references::resolve_argument(&request.to, &cx.env).await?)?;
    let options = options(place, request)?;
    let mut databases = Vec::new();
    for (name, target) in targets(&toc, &target, request)? {
        let input = toc.input(&name)?;
        let plan = restore::plan(&target, &input, &options).await?;
        databases.push(DatabasePlan { plan, target, input });
    }
    let mut warnings = warnings(head);
    // What is known of damage helps to choose another backup; that it cannot be read must not stop anybody.
    match Proofs::read(vault).await {
        Ok(proofs) if proofs.failed(&head.backup) => {
            let proven = listing.backups.iter().rev().find(|h| proofs.level(&h.backup) == Some(Level::Restore));
            let instead = proven.map(|h| format!("; the newest proven one is {}", h.backup)).unwrap_or_default();
            warnings.push(format!("the last verification of this backup failed{instead}"));
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the proofs cannot be read"),
    }
    Ok((reader, databases, warnings))
}

pub(super) fn warnings(head: &Head) -> Vec<String> {
    head.anomalies.iter().map(|a| format!("the backup is suspicious: {a}")).chain(head.warnings.iter().cloned()).collect()
}

fn options(place: &Place, request: &RestoreRequest) -> Result<RestoreOptions> {
    let mut role_map = BTreeMap::new();
    for pair in &request.role_map {
        let (old, new) = pair.split_once('=').filter(|(o, n)| !o.is_empty() && !n.is_empty()).ok_or_else(|| {
            Error::usage(format!("--role-map '{pair}' is not OLD=NEW")).hint("for example --role-map app=app_staging")
        })?;
        if role_map.insert(old.to_owned(), new.to_owned()).is_some() {
            return Err(Error::usage(format!("--role-map names role '{old}' twice")));
        }
    }
    let policy_jobs = || place.policy.as_ref().and_then(|p| p.postgres().ok()).map(crate::policy::model::PostgresSource::jobs);
    let jobs = request.jobs.or_else(policy_jobs).unwrap_or_else(limits::default_jobs);
    if !(1..=64).contains(&jobs) {
        return Err(Error::usage(format!("--jobs {jobs} is not between 1 and 64")));
    }
    Ok(RestoreOptions { role_map, jobs, ..request.options.clone() })
}

/// Which databases of the backup go where: one goes into the database that the URL names; several keep their names, on the URL's server.
fn targets(toc: &Toc, target: &Target, request: &RestoreRequest) -> Result<Vec<(String, Target)>> {
    let names: Vec<&str> = toc.databases.iter().map(|d| d.about.name.as_str()).collect();
    match (&request.database, names.as_slice()) {
        (Some(wanted), _) => Ok(vec![(wanted.clone(), target.clone())]),
        (None, []) => Err(Error::integrity("the backup holds no database")),
        (None, [one]) => Ok(vec![((*one).to_owned(), target.clone())]),
        (None, several) => Err(Error::usage(format!("the backup holds {} databases: {}", several.len(), several.join(", ")))
            .hint("say which with --database NAME; restore them one by one")),
    }
}

/// Does what was planned.
pub async fn execute(cx: &Context, planned: PlannedRestore) -> Result<RestoreReport> {
    let mut record = run::record(cx, &Order::default(), planned.run.clone(), RunKind::Restore, None);
    record.backup = Some(planned.backup.clone());
    let mut recorder = Recorder::start(cx, &planned.vault, record).await?;
    recorder.stage("restore");
    let outcome = restore_all(cx, &planned).await;
    cx.progress.finish();
    if let Ok(report) = &outcome {
        recorder.end_stage(report.databases.iter().map(|d| d.outcome.bytes).sum());
    }
    let outcome = recorder.end(outcome, RestoreReport::failure).await;
    planned.mark.end().await;
    outcome
}

async fn restore_all(cx: &Context, planned: &PlannedRestore) -> Result<RestoreReport> {
    let source = Arc::new(VaultSource(planned.reader.clone()));
    let mut databases = Vec::new();
    for one in &planned.databases {
        let outcome =
            restore::execute(&one.target, &one.input, &one.plan, source.clone(), &cx.progress, &cx.shutdown, &cx.clock).await?;
        databases.push(DatabaseOutcome { database: one.input.database.clone(), target: one.target.describe(), outcome });
    }
    Ok(RestoreReport {
        policy: planned.policy.clone(),
        backup: planned.backup.clone(),
        consistent_at: planned.consistent_at,
        complete: databases.iter().all(|d| d.outcome.is_complete()),
        databases,
    })
}
