//! Backs a policy's databases up.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::anomaly;
use super::context::{Context, Place};
use super::list::{self, Proofs};
use super::run::{Recorder, fail_stale, under_lease};
use super::sink::VaultSink;
use super::toc::{DatabaseSummary, SourceSummary, Toc};
use crate::base::clock::{self, Stopwatch};
use crate::base::ids::{BackupId, RunId};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result, ResultExt};
use crate::pg::connect::Target;
use crate::pg::export::{ClusterExport, Export, ExportOptions, export, export_cluster};
use crate::pg::facts;
use crate::policy::model::PostgresSource;
use crate::policy::{Databases, Policy};
use crate::repo::commit::Commit;
use crate::repo::head::{Counts, Head};
use crate::repo::lease::{Lease, Purpose};
use crate::repo::listing::Listing;
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
    // The server before the lease: a wrong password must not keep others out, nor leave an empty vault behind.
    let databases = databases(source, &target).await?;
    let vault = Vault::open_or_create(place.store.clone(), &place.name, policy.text_without_secrets(), cx.clock.clone()).await?;
    let id = BackupId::generate(cx.clock.now());
    let head = under_lease(cx, &vault, "backup", Purpose::Write, async |lease, shutdown| {
        let mut recorder = Recorder::start(&vault, RunId::from(&id), RunKind::Backup, options.label.as_deref()).await?;
        recorder.about(&id);
        let work = Work {
            cx,
            vault: &vault,
            policy,
            source,
            target: &target,
            databases: &databases,
            lease: &lease,
            shutdown: &shutdown,
        };
        let outcome = work.run(&id, options, &mut recorder).await;
        recorder.end(outcome).await
    })
    .await?;
    cx.progress.finish();
    report(&place, &vault, head, options.pin, watch.elapsed())
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

struct Work<'a> {
    cx: &'a Context,
    vault: &'a Vault,
    policy: &'a Policy,
    source: &'a PostgresSource,
    target: &'a Target,
    databases: &'a [String],
    lease: &'a Arc<Lease>,
    shutdown: &'a Shutdown,
}

impl Work<'_> {
    async fn run(&self, id: &BackupId, options: &BackupOptions, recorder: &mut Recorder) -> Result<Head> {
        for stale in fail_stale(self.vault, self.lease, &RunId::from(id)).await? {
            tracing::info!(run = %stale, "an earlier run was killed; its record says so now");
        }
        self.vault.record_policy_text(self.policy.text_without_secrets()).await?;
        let started_at = self.cx.clock.now();
        recorder.stage("export");
        let writer =
            Arc::new(Writer::begin(self.vault, self.lease, id.clone(), self.cx.progress.clone(), self.shutdown.clone()).await?);
        let (cluster, exports) = self.export(&writer).await?;
        recorder.end_stage(exports.iter().flat_map(|e| &e.tables).map(|t| t.fingerprint.bytes).sum());
        recorder.stage("commit");
        self.cx.progress.stage("commit", None);
        let commit = self.commit(&cluster, &exports, started_at, options).await?;
        let writer = Arc::into_inner(writer).ok_or_else(|| Error::internal("a worker still holds the writer"))?;
        let head = writer.commit(commit).await?;
        recorder.stats(serde_json::to_value(head.counts).unwrap_or_default());
        recorder.stage("proof");
        self.prove(&head).await?;
        if options.pin {
            pins::pin(self.vault, id, options.label.as_deref(), &self.cx.owner("backup").to_string()).await?;
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
        Ok((cluster, exports))
    }

    async fn commit(
        &self,
        cluster: &ClusterExport,
        exports: &[Export],
        started_at: Timestamp,
        options: &BackupOptions,
    ) -> Result<Commit> {
        let mut toc = Toc::new(cluster);
        for export in exports {
            toc.add(export, &self.excluded());
        }
        let counts = Counts {
            rows: exports.iter().flat_map(|e| &e.tables).map(|t| t.fingerprint.rows).sum(),
            plain_bytes: exports.iter().flat_map(|e| &e.tables).map(|t| t.fingerprint.bytes).sum(),
            objects: toc.cluster.len() as u64 + exports.iter().map(|e| e.entries.len() as u64).sum::<u64>(),
            tables: exports.iter().map(|e| e.tables.iter().filter(|t| !t.is_large_objects()).count() as u64).sum(),
            ..Counts::default()
        };
        let mut warnings = cluster.warnings.clone();
        for export in exports {
            warnings.extend(export.warnings.iter().cloned());
            warnings.extend(export.unmodeled.iter().map(|what| format!("not in the backup: {what}")));
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
            source: serde_json::to_value(self.summary(exports))
                .map_err(|e| Error::internal("write the source's summary").source(e))?,
            anomalies: anomaly::find(&counts, self.last_good().await?.as_ref()),
            warnings,
            documents: toc.documents()?,
            objects: counts.objects,
            tables: counts.tables,
        })
    }

    fn excluded(&self) -> Vec<String> {
        self.source.exclude_table_data.iter().map(ToString::to_string).collect()
    }

    /// Counts of the last proven backup, else of the newest that is not suspicious.
    async fn last_good(&self) -> Result<Option<Counts>> {
        let listing = Listing::read(self.vault).await?;
        let proofs = Proofs::read(self.vault).await?;
        let good = |h: &&Head| h.anomalies.is_empty();
        let proven = listing.backups.iter().rev().filter(good).find(|h| proofs.level(&h.backup) >= Some(Level::Restore));
        Ok(proven.or_else(|| listing.backups.iter().rev().find(good)).map(|h| h.counts))
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
