//! Backs databases of a PostgreSQL server up: their catalogs as entries, their rows as streams.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::anomaly;
use super::backup::Work;
use super::run::Recorder;
use super::sink::VaultSink;
use super::source::{DatabaseSummary, PostgresSummary, SourceSummary};
use super::toc::{self, Described};
use crate::base::clock;
use crate::base::{Error, Result, ResultExt};
use crate::pg::connect::Target;
use crate::pg::export::{ClusterExport, Export, ExportOptions, export, export_cluster};
use crate::pg::facts;
use crate::policy::Databases;
use crate::policy::model::PostgresSource;
use crate::repo::commit::Commit;
use crate::repo::head::{Counts, Head};
use crate::repo::writer::Writer;

/// The databases of one run.
pub(super) struct Databased<'a> {
    pub(super) source: &'a PostgresSource,
    pub(super) target: &'a Target,
    pub(super) databases: &'a [String],
}

/// Names of the databases to back up; fails when the server cannot be reached.
pub(super) async fn databases(source: &PostgresSource, target: &Target) -> Result<Vec<String>> {
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
fn missing_roles(cluster: &ClusterExport, exports: &[Export<Described>]) -> Vec<String> {
    let made: HashSet<&str> = cluster.entries.iter().filter(|e| e.kind == "role").map(|e| e.name.as_str()).collect();
    let named: BTreeSet<&String> = exports.iter().flat_map(|e| &e.entries.roles).collect();
    // Roles of the server itself come with every server.
    named.into_iter().filter(|name| !name.starts_with("pg_") && !made.contains(name.as_str())).cloned().collect()
}

impl Databased<'_> {
    /// Exports and commits.
    pub(super) async fn run(&self, work: &Work<'_>, recorder: &mut Recorder) -> Result<Head> {
        let started_at = work.cx.clock.now();
        recorder.stage("export");
        let (writer, last_good) = work.begin().await?;
        let writer = Arc::new(writer);
        let (cluster, exports) = self.export(work, &writer).await?;
        recorder.end_stage(exports.iter().flat_map(|e| &e.tables).map(|t| t.fingerprint.bytes).sum());
        let commit = self.commit(work, cluster, exports, started_at, last_good.as_ref().map(|h| &h.counts))?;
        let writer = Arc::into_inner(writer).ok_or_else(|| Error::internal("a worker still holds the writer"))?;
        work.commit(writer, commit, recorder).await
    }

    async fn export(&self, work: &Work<'_>, writer: &Arc<Writer>) -> Result<(ClusterExport, Vec<Export<Described>>)> {
        let options = ExportOptions {
            jobs: self.source.jobs(),
            exclude_table_data: self.excluded(),
            allow_unmodeled: self.source.allow_unmodeled,
        };
        let first = self.databases.first().ok_or_else(|| Error::internal("no database to back up"))?;
        let cluster = work.shutdown.guard(export_cluster(&self.target.with_database(first))).await?;
        let mut exports = Vec::with_capacity(self.databases.len());
        for name in self.databases {
            let sink = VaultSink::new(Arc::clone(writer), name);
            let target = self.target.with_database(name);
            let one = export(&target, &options, toc::describe, sink, &work.cx.progress, work.shutdown, &work.cx.clock)
                .await
                .context(|| format!("back up database {name}"))?;
            exports.push(one);
        }
        // A role that was made meanwhile may own an object of a later snapshot; a restore could not make it.
        let missing = missing_roles(&cluster, &exports);
        if missing.is_empty() {
            return Ok((cluster, exports));
        }
        let cluster = work.shutdown.guard(export_cluster(&self.target.with_database(first))).await?;
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
        work: &Work<'_>,
        cluster: ClusterExport,
        exports: Vec<Export<Described>>,
        started_at: Timestamp,
        last_good: Option<&Counts>,
    ) -> Result<Commit> {
        let counts = Counts {
            rows: exports.iter().flat_map(|e| &e.tables).map(|t| t.fingerprint.rows).sum(),
            plain_bytes: exports.iter().flat_map(|e| &e.tables).map(|t| t.fingerprint.bytes).sum(),
            objects: cluster.entries.len() as u64 + exports.iter().map(|e| e.entries.documents.len() as u64).sum::<u64>(),
            tables: exports.iter().map(|e| e.tables.iter().filter(|t| !t.is_large_objects()).count() as u64).sum(),
            ..Counts::default()
        };
        let mut warnings = cluster.warnings.clone();
        for export in &exports {
            warnings.extend(export.warnings.iter().cloned());
            warnings.extend(export.unmodeled.iter().map(|what| format!("not in the backup: {what}")));
        }
        warnings.extend(work.first_of_vault());
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
            label: work.options.label.clone(),
            keep_until: work.options.keep_for.map(|d| clock::add(consistent_at, d)),
            source: serde_json::to_value(SourceSummary::Postgres(self.summary(&exports)))
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

    fn summary(&self, exports: &[Export<Described>]) -> PostgresSummary {
        let facts = exports.first().map(|e| &e.facts);
        PostgresSummary {
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
                    objects: e.entries.documents.len() as u64,
                    rows: e.tables.iter().map(|t| t.fingerprint.rows).sum(),
                    bytes: e.tables.iter().map(|t| t.fingerprint.bytes).sum(),
                    database_bytes: e.database_bytes,
                })
                .collect(),
        }
    }
}
