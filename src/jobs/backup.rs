//! Backs a policy's databases up.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::anomaly;
use super::context::{Context, Place};
use super::due::{self, Claim};
use super::list::{self, Proofs};
use super::run::{self, Order, Recorder, fail_stale, under_lease};
use super::sink::VaultSink;
use super::toc::{self, DatabaseSummary, SourceSummary};
use crate::base::clock::{self, Stopwatch};
use crate::base::ids::{BackupId, RunId};
use crate::base::shutdown::Shutdown;
use crate::base::sql::Sql;
use crate::base::{Error, Kind, Result, ResultExt};
use crate::pg::catalog::entry::Entry;
use crate::pg::connect::Target;
use crate::pg::export::{ClusterExport, Export, ExportOptions, export, export_cluster};
use crate::pg::facts;
use crate::policy::model::PostgresSource;
use crate::policy::{Databases, Policy};
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

/// Backs up now.
pub async fn backup(cx: &Context, name: &str, options: &BackupOptions) -> Result<BackupReport> {
    let watch = Stopwatch::start();
    let place = cx.place(name).await?;
    let policy = place.policy()?;
    let source = policy.postgres()?;
    let target = Target::parse(&source.url(&cx.env)?)?;
    let id = BackupId::from(&options.order.id(cx));
    // The server before the lease: a wrong password must not keep others out, nor leave an empty vault behind. A run for a slot claims that first,
    // so that the tries of two daemons are not counted twice; its vault is there already.
    let found = match (options.order.slot, cx.shutdown.guard(databases(source, &target))) {
        (Some(_), _) => None,
        (None, asked) => match asked.await {
            Ok(databases) => Some(databases),
            Err(error) => return Err(record_failure(cx, &place, &id, options, error).await),
        },
    };
    let (vault, new_vault) = open_or_create(cx, &place, policy).await?;
    let (place_of, target, id) = (&vault, &target, &id);
    let head = under_lease(cx, place_of, "backup", Purpose::Write, |lease, shutdown| async move {
        let vault = place_of;
        let run = RunId::from(id);
        let claim = match options.order.slot {
            Some(slot) => Some(due::claim(cx, vault, &lease, policy, RunKind::Backup, slot, &run).await?),
            None => None,
        };
        let mut recorder = start(cx, vault, id, options, claim).await?;
        let outcome = shutdown.bound(async {
            let databases = match found {
                Some(databases) => databases,
                None => shutdown.guard(databases(source, target)).await?,
            };
            let work =
                Work { cx, new_vault, vault, policy, source, target, databases: &databases, lease: &lease, shutdown: &shutdown };
            work.run(id, options, &mut recorder).await
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
    match start(cx, &vault, id, options, None).await {
        Ok(recorder) => {
            recorder.end::<()>(Err(error), |()| None).await.err().unwrap_or_else(|| Error::internal("the failure was lost"))
        }
        Err(unsaved) => {
            tracing::warn!(error = %unsaved, "the run record could not be written");
            error
        }
    }
}

async fn start(cx: &Context, vault: &Vault, id: &BackupId, options: &BackupOptions, claim: Option<Claim>) -> Result<Recorder> {
    let mut record = run::record(cx, &options.order, RunId::from(id), RunKind::Backup, claim);
    record.label.clone_from(&options.label);
    record.backup = Some(id.clone());
    Recorder::start(cx, vault, record).await
}

fn report(place: &Place, vault: &Vault, head: Head, pinned: bool, took: Duration) -> Result<BackupReport> {
    Ok(BackupReport {
        policy: place.name.clone(),
        vault: vault.describe(),
        pinned,
        seconds: took.as_secs_f64(),
        source: list::source(&head)?,
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

/// Names of the databases to back up; fails when the server cannot be reached.
async fn databases(source: &PostgresSource, target: &Target) -> Result<Vec<String>> {
    match &source.databases {
        Databases::OfUrl => {
            facts::server_facts(target).await?;
            Ok(vec![target.database().to_owned()])
        }
        Databases::Named(names) => {
            for name in names {
                facts::server_facts(&target.with_database(name)).await?;
            }
            Ok(names.clone())
        }
        Databases::All => {
            let names = facts::databases(target).await?;
            if names.is_empty() {
                return Err(Error::not_found(format!("{} has no database that accepts connections", target.describe())));
            }
            Ok(names)
        }
    }
}

/// Roles that entries name and that the cluster's entries do not make.
fn missing_roles(cluster: &ClusterExport, exports: &[Export]) -> Vec<String> {
    let made: HashSet<&str> = cluster.entries.iter().filter(|e| e.kind == "role").map(|e| e.name.as_str()).collect();
    let lists = |e: &Entry| {
        [&e.create, &e.ownership, &e.privileges].into_iter().flatten().flat_map(Sql::roles).map(str::to_owned).collect::<Vec<_>>()
    };
    let named: BTreeSet<String> = exports.iter().flat_map(|e| &e.entries).flat_map(lists).collect();
    // Roles of the server itself come with every server.
    named.into_iter().filter(|name| !name.starts_with("pg_") && !made.contains(name.as_str())).collect()
}

struct Work<'a> {
    cx: &'a Context,
    new_vault: bool,
    vault: &'a Vault,
    policy: &'a Policy,
    source: &'a PostgresSource,
    target: &'a Target,
    databases: &'a [String],
    lease: &'a Arc<Lease>,
    shutdown: &'a Shutdown,
}

impl Work<'_> {
    /// A run for a slot has done so when it claimed it.
    async fn fail_stale(&self, own: &RunId, options: &BackupOptions) -> Result<Vec<RunId>> {
        if options.order.slot.is_some() {
            return Ok(Vec::new());
        }
        fail_stale(self.vault, self.lease, own).await
    }

    async fn run(&self, id: &BackupId, options: &BackupOptions, recorder: &mut Recorder) -> Result<Head> {
        let started_at = self.cx.clock.now();
        recorder.stage("export");
        let run = RunId::from(id);
        let begin = Writer::begin(self.vault, self.lease, id.clone(), self.cx.progress.clone(), self.shutdown.clone());
        let (writer, stale, last_good, ()) = tokio::try_join!(
            begin,
            self.fail_stale(&run, options),
            self.last_good(),
            self.vault.record_policy_text(self.policy.text_without_secrets()),
        )?;
        for stale in stale {
            tracing::info!(run = %stale, "an earlier run was killed; its record says so now");
        }
        let writer = Arc::new(writer);
        let (cluster, exports) = self.export(&writer).await?;
        recorder.end_stage(exports.iter().flat_map(|e| &e.tables).map(|t| t.fingerprint.bytes).sum());
        recorder.stage("commit");
        self.cx.progress.stage("commit", None);
        let commit = self.commit(cluster, exports, started_at, options, last_good.as_ref())?;
        let writer = Arc::into_inner(writer).ok_or_else(|| Error::internal("a worker still holds the writer"))?;
        let head = writer.commit(commit).await?;
        recorder.committed(head.committed_at);
        recorder.stats(serde_json::to_value(head.counts).unwrap_or_default());
        recorder.stage("proof");
        // The backup exists: what is said about it beyond that must not make the run look failed.
        if let Err(error) = self.prove(&head).await {
            tracing::warn!(%error, "the proof of presence could not be written; verify the backup");
        }
        if options.pin
            && let Err(error) = pins::pin(self.vault, id, options.label.as_deref(), &self.cx.owner("backup").to_string()).await
        {
            return Err(error.context(format!("backup {id} is complete, but could not be pinned")));
        }
        Ok(head)
    }

    async fn export(&self, writer: &Arc<Writer>) -> Result<(ClusterExport, Vec<Export>)> {
        let options = ExportOptions {
            jobs: self.source.jobs(),
            exclude_table_data: self.excluded(),
            allow_unmodeled: self.source.allow_unmodeled,
        };
        let first = self.databases.first().ok_or_else(|| Error::internal("no database to back up"))?;
        let cluster = self.shutdown.guard(export_cluster(&self.target.with_database(first))).await?;
        let mut exports = Vec::with_capacity(self.databases.len());
        for name in self.databases {
            let sink = VaultSink::new(Arc::clone(writer), name);
            let target = self.target.with_database(name);
            let one = export(&target, &options, sink, &self.cx.progress, self.shutdown, &self.cx.clock)
                .await
                .context(|| format!("back up database {name}"))?;
            exports.push(one);
        }
        // A role that was made meanwhile may own an object of a later snapshot; a restore could not make it.
        let missing = missing_roles(&cluster, &exports);
        if missing.is_empty() {
            return Ok((cluster, exports));
        }
        let cluster = self.shutdown.guard(export_cluster(&self.target.with_database(first))).await?;
        let missing = missing_roles(&cluster, &exports);
        if missing.is_empty() {
            return Ok((cluster, exports));
        }
        Err(Error::unavailable(format!(
            "roles changed while they were read: {} own objects and exist no more",
            missing.join(", ")
        ))
        .hint("run the backup again"))
    }

    fn commit(
        &self,
        cluster: ClusterExport,
        exports: Vec<Export>,
        started_at: Timestamp,
        options: &BackupOptions,
        last_good: Option<&Counts>,
    ) -> Result<Commit> {
        let counts = Counts {
            rows: exports.iter().flat_map(|e| &e.tables).map(|t| t.fingerprint.rows).sum(),
            plain_bytes: exports.iter().flat_map(|e| &e.tables).map(|t| t.fingerprint.bytes).sum(),
            objects: cluster.entries.len() as u64 + exports.iter().map(|e| e.entries.len() as u64).sum::<u64>(),
            tables: exports.iter().map(|e| e.tables.iter().filter(|t| !t.is_large_objects()).count() as u64).sum(),
            ..Counts::default()
        };
        let mut warnings = cluster.warnings.clone();
        for export in &exports {
            warnings.extend(export.warnings.iter().cloned());
            warnings.extend(export.unmodeled.iter().map(|what| format!("not in the backup: {what}")));
        }
        if self.new_vault {
            warnings.push(format!("this is the first backup in a new vault at {}", self.vault.describe()));
        }
        for export in exports.iter().filter(|e| e.tables.is_empty()) {
            warnings.push(format!("database {} holds no table; check that the policy names the right one", export.database));
        }
        warnings.dedup();
        // Several databases are several snapshots; the backup as a whole shows no instant before the last of them.
        let consistent_at =
            exports.iter().map(|e| e.consistent_at).max().ok_or_else(|| Error::internal("nothing was exported"))?;
        Ok(Commit {
            started_at,
            consistent_at,
            label: options.label.clone(),
            keep_until: options.keep_for.map(|d| clock::add(consistent_at, d)),
            source: serde_json::to_value(self.summary(&exports))
                .map_err(|e| Error::internal("write the source's summary").source(e))?,
            anomalies: anomaly::find(&counts, last_good),
            warnings,
            documents: toc::documents(cluster, exports, &self.excluded())?,
            objects: counts.objects,
            tables: counts.tables,
        })
    }

    fn excluded(&self) -> Vec<String> {
        self.source.exclude_table_data.iter().map(ToString::to_string).collect()
    }

    /// What the database was last known to be: the newest backup that was drilled, or that was suspicious and somebody said that it is right; else the
    /// newest that is not suspicious.
    async fn last_good(&self) -> Result<Option<Counts>> {
        let (ids, proofs, pins) = tokio::try_join!(Ids::read(self.vault), Proofs::read(self.vault), pins::all(self.vault))?;
        let suspicious = |h: &Head| !h.anomalies.is_empty();
        let pinned = |id: &BackupId| pins.iter().any(|p| p.backup == *id);
        let drilled = |id: &BackupId| proofs.level(id) >= Some(Level::Restore);
        let judged = |h: &Head| if suspicious(h) { pinned(&h.backup) } else { drilled(&h.backup) };
        let judged = ids.newest(|id| pinned(id) || drilled(id), judged).await?;
        let newest = match judged {
            None => ids.newest(|_| true, |h| !suspicious(h)).await?,
            judged => judged,
        };
        Ok(newest.map(|h| h.counts))
    }

    fn summary(&self, exports: &[Export]) -> SourceSummary {
        let facts = exports.first().map(|e| &e.facts);
        SourceSummary {
            kind: "postgres".to_owned(),
            system_identifier: facts.and_then(|f| f.system_identifier.clone()),
            version: facts.map(|f| f.version_text.clone()).unwrap_or_default(),
            version_num: facts.map_or(0, |f| f.version.0),
            server: format!("{}:{}", self.target.host(), self.target.port()),
            databases: exports
                .iter()
                .map(|e| DatabaseSummary {
                    name: e.database.clone(),
                    consistent_at: e.consistent_at,
                    lsn: e.facts.lsn.clone(),
                    timeline: e.facts.timeline,
                    tables: e.tables.iter().filter(|t| !t.is_large_objects()).count() as u64,
                    objects: e.entries.len() as u64,
                    rows: e.tables.iter().map(|t| t.fingerprint.rows).sum(),
                    bytes: e.tables.iter().map(|t| t.fingerprint.bytes).sum(),
                    database_bytes: e.facts.database_bytes,
                })
                .collect(),
        }
    }

    /// The commit has just had the store list every part with its size: the proof of presence.
    async fn prove(&self, head: &Head) -> Result<()> {
        let proof = Proof {
            backup: head.backup.clone(),
            level: Level::Presence,
            at: self.cx.clock.now(),
            passed: true,
            seconds: 0.0,
            tool: super::tool(),
            findings: Vec::new(),
            details: serde_json::json!({ "by": "commit", "parts": head.counts.parts }),
        };
        proofs::record(self.vault, &proof).await
    }
}
