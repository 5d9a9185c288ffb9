//! What there is: rows of `list`, the whole of one backup for `show`.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::context::Context;
use super::points::{self, Point};
use super::select;
use super::source::{SnapshotSummary, SourceSummary};
use super::toc::Toc;
use crate::base::ids::BackupId;
use crate::base::{Error, Result};
use crate::policy::time::parse_at;
use crate::repo::Vault;
use crate::repo::contents::Document;
use crate::repo::head::{Counts, Head};
use crate::repo::listing::{Listing, Selector};
use crate::repo::pins::{self, Pin};
use crate::repo::proofs::{self, Level, Proof, Verdict};
use crate::repo::reader::read_contents;

/// What is known of the proofs of a vault's backups.
#[derive(Debug, Default)]
pub struct Proofs(HashMap<BackupId, Vec<Verdict>>);

impl Proofs {
    /// Reads what all of them say.
    pub async fn read(vault: &Vault) -> Result<Self> {
        Ok(Self(proofs::verdicts(vault).await?))
    }

    /// Those of one backup, oldest first.
    pub fn of(&self, backup: &BackupId) -> &[Verdict] {
        self.0.get(backup).map_or(&[], Vec::as_slice)
    }

    /// The deepest level that the backup passed and after which no verification of it failed, at whatever level.
    pub fn level(&self, backup: &BackupId) -> Option<Level> {
        let mut level = None;
        for proof in self.of(backup) {
            level = if proof.passed { level.max(Some(proof.level)) } else { None };
        }
        level
    }

    /// Whether a verification failed and none at its level or a deeper one passed since: a look that goes less deep cannot see that
    /// damage found by a deeper one is gone.
    pub fn failed(&self, backup: &BackupId) -> bool {
        let mut standing: Option<Level> = None;
        for proof in self.of(backup) {
            if !proof.passed {
                standing = standing.max(Some(proof.level));
            } else if standing.is_some_and(|failed| proof.level >= failed) {
                standing = None;
            }
        }
        standing.is_some()
    }
}

/// One line of `list`.
#[derive(Debug, Clone, Serialize)]
pub struct BackupRow {
    /// The policy.
    pub policy: String,
    /// The backup.
    pub backup: BackupId,
    /// The instant that it shows.
    pub consistent_at: Timestamp,
    /// When it became a backup.
    pub committed_at: Timestamp,
    /// What the user called it.
    pub label: Option<String>,
    /// What was backed up: `postgres`, `ebs`, `rds`.
    pub kind: &'static str,
    /// Names of its databases.
    pub databases: Vec<String>,
    /// What its snapshots show: volumes, the instance or cluster; empty for databases.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub originals: Vec<String>,
    /// Sizes of those together, in bytes: what a restore makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_bytes: Option<u64>,
    /// Sizes and numbers.
    pub counts: Counts,
    /// The deepest level at which it is proven.
    pub proven: Option<Level>,
    /// Whether a verification failed and none as deep passed since.
    pub damaged: bool,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Why it is suspicious.
    pub anomalies: Vec<String>,
    /// Retention leaves it alone until then.
    pub keep_until: Option<Timestamp>,
}

/// A backup that is gone unless somebody says otherwise soon.
#[derive(Debug, Clone, Serialize)]
pub struct MarkedRow {
    /// The policy.
    pub policy: String,
    /// The backup.
    pub backup: BackupId,
    /// The instant that it shows.
    pub consistent_at: Timestamp,
    /// When it was marked.
    pub marked_at: Timestamp,
    /// From then on a prune deletes it.
    pub sweep_after: Timestamp,
}

/// The document of `list`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ListReport {
    /// Backups, newest first within a policy.
    pub backups: Vec<BackupRow>,
    /// Backups marked for removal.
    pub marked: Vec<MarkedRow>,
    /// With a time and without a policy: what each policy has for that time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<Point>,
    /// Heads that cannot be read, and policies whose store cannot: sentences.
    pub problems: Vec<String>,
}

/// Lists one policy, or all of them; with `at`, for each policy the one backup that a restore at that time would use ([`points`]).
pub async fn list(cx: &Context, policy: Option<&str>, at: Option<&str>) -> Result<(ListReport, Option<Error>)> {
    let mut report = ListReport::default();
    if let Some(name) = policy {
        list_one(cx, name, at, &mut report).await?;
        let failure = report
            .problems
            .first()
            .map(|first| Error::integrity(format!("{} backups cannot be read; the first: {first}", report.problems.len())));
        return Ok((report, failure));
    }
    if let Some(at) = at {
        return points::points(cx, at).await;
    }
    // One policy's trouble must not hide the backups of the others.
    let mut failure = None;
    for name in cx.names().await? {
        match list_one(cx, &name, None, &mut report).await {
            Ok(()) => {}
            Err(error) => {
                report.problems.push(format!("{name}: {error}"));
                failure.get_or_insert(error.context(name));
            }
        }
    }
    Ok((report, failure))
}

async fn list_one(cx: &Context, name: &str, at: Option<&str>, report: &mut ListReport) -> Result<()> {
    let (place, vault) = cx.find_vault(name).await?;
    let at = at.map(|text| parse_at(text, cx.clock.now(), &place.zone())).transpose()?;
    let Some(vault) = vault else {
        return at.map_or(Ok(()), |_| Err(Error::not_found(format!("policy {name} has no backup yet"))));
    };
    let (listing, proofs, pins) = tokio::try_join!(Listing::read(&vault), Proofs::read(&vault), pins::all(&vault))?;
    for damaged in &listing.damaged {
        report.problems.push(format!("{name}: backup {}: {}", damaged.backup, damaged.error));
    }
    let chosen: Vec<&Head> = match at {
        Some(at) => vec![listing.find(&Selector::At(at))?],
        None => listing.backups.iter().rev().collect(),
    };
    for head in chosen {
        report.backups.push(row(name, head, &proofs, &pins)?);
    }
    if at.is_none() {
        report.marked.extend(listing.marked.iter().map(|t| MarkedRow {
            policy: name.to_owned(),
            backup: t.backup.clone(),
            consistent_at: t.head.consistent_at,
            marked_at: t.marked_at,
            sweep_after: t.sweep_after,
        }));
    }
    Ok(())
}

pub(super) fn row(policy: &str, head: &Head, proofs: &Proofs, pins: &[Pin]) -> Result<BackupRow> {
    let source = SourceSummary::of(head)?;
    let set = source.snapshots();
    Ok(BackupRow {
        kind: source.kind(),
        databases: if set.is_none() { source.names() } else { Vec::new() },
        originals: if set.is_some() { source.names() } else { Vec::new() },
        original_bytes: set.map(SnapshotSummary::bytes),
        policy: policy.to_owned(),
        backup: head.backup.clone(),
        consistent_at: head.consistent_at,
        committed_at: head.committed_at,
        label: head.label.clone(),
        counts: head.counts,
        proven: proofs.level(&head.backup),
        damaged: proofs.failed(&head.backup),
        pinned: pins.iter().any(|p| p.backup == head.backup),
        anomalies: head.anomalies.clone(),
        keep_until: head.keep_until,
    })
}

/// One table of a backup.
#[derive(Debug, Clone, Serialize)]
pub struct TableRow {
    /// Database.
    pub database: String,
    /// Schema.
    pub schema: String,
    /// Table.
    pub table: String,
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text.
    pub bytes: u64,
    /// Order-independent sum of the row hashes.
    pub fingerprint: String,
}

/// The document of `show`.
#[derive(Debug, Serialize)]
pub struct ShowReport {
    /// As in `list`.
    #[serde(flatten)]
    pub row: BackupRow,
    /// Where it is.
    pub vault: String,
    /// What was backed up.
    pub source: SourceSummary,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Number of objects by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Tables, largest first.
    pub tables: Vec<TableRow>,
    /// What the contents say of volumes and snapshots, as `docs/FORMAT.md` describes it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<serde_json::Value>,
    /// Verifications, oldest first.
    pub proofs: Vec<Proof>,
    /// Why it is pinned.
    pub pin: Option<Pin>,
    /// Program that made it.
    pub tool: String,
}

/// Shows one backup: `backup`, or the newest.
pub async fn show(cx: &Context, policy: &str, backup: Option<&str>) -> Result<ShowReport> {
    let (_, vault) = cx.vault(policy).await?;
    let listing = Listing::read(&vault).await?;
    let head = listing.find(&select::by_id(backup)?)?;
    let proofs_of = proofs::of(&vault, &head.backup);
    let (said, pins, proofs, contents) =
        tokio::try_join!(Proofs::read(&vault), pins::all(&vault), proofs_of, read_contents(&vault, head))?;
    let source = SourceSummary::of(head)?;
    let mut documents = contents.documents;
    let mut snapshots = Vec::new();
    if source.snapshots().is_some() {
        snapshots = documents.iter().map(Document::parse).collect::<Result<_>>()?;
        documents.clear();
    }
    let toc = Toc::parse(documents)?;
    let mut tables: Vec<TableRow> = Vec::new();
    for database in &toc.databases {
        tables.extend(database.tables.iter().map(|t| TableRow {
            database: database.about.name.clone(),
            schema: t.schema.clone(),
            table: t.table.clone(),
            rows: t.fingerprint.rows,
            bytes: t.fingerprint.bytes,
            fingerprint: format!("{:032x}", t.fingerprint.sum),
        }));
    }
    tables.sort_by(|a, b| (b.bytes, &a.schema, &a.table).cmp(&(a.bytes, &b.schema, &b.table)));
    Ok(ShowReport {
        row: row(policy, head, &said, &pins)?,
        vault: vault.describe(),
        source,
        snapshots,
        warnings: head.warnings.clone(),
        kinds: toc.kinds(),
        tables,
        proofs,
        pin: pins.into_iter().find(|p| p.backup == head.backup),
        tool: head.tool.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (&'static [(Level, bool)], Option<Level>, bool);

    #[test]
    fn a_failure_stands_until_a_verification_as_deep_passes() {
        use Level::{Content, Presence, Restore};
        let backup: BackupId = "20261122T021500Z-7f3a".parse().expect("id");
        let cases: &[Case] = &[
            (&[], None, false),
            (&[(Presence, true), (Restore, true), (Content, true)], Some(Restore), false),
            (&[(Content, false), (Presence, true)], Some(Presence), true),
            (&[(Content, false), (Content, true)], Some(Content), false),
            (&[(Content, false), (Restore, true)], Some(Restore), false),
            (&[(Restore, false), (Content, true), (Presence, true)], Some(Content), true),
            (&[(Restore, false), (Presence, false), (Content, true)], Some(Content), true),
            (&[(Restore, true), (Presence, false)], None, true),
            (&[(Restore, true), (Presence, false), (Presence, true)], Some(Presence), false),
        ];
        for (history, level, failed) in cases {
            let at = Timestamp::UNIX_EPOCH;
            let verdict = |(level, passed): &(Level, bool)| Verdict { level: *level, at, passed: *passed };
            let proofs = Proofs(HashMap::from([(backup.clone(), history.iter().map(verdict).collect())]));
            assert_eq!((proofs.level(&backup), proofs.failed(&backup)), (*level, *failed), "{history:?}");
        }
    }
}
