//! Where AWS and the vault disagree: snapshots that no backup names, backups whose snapshots are gone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use serde::Serialize;

use super::presence::belonging;
use super::{Owned, Snapshots, of_policy};
use crate::base::Result;
use crate::base::ids::{BackupId, RunId};
use crate::base::limits::STORE_CONCURRENCY;
use crate::cloud::tags::Belonging;
use crate::jobs::context::Context;
use crate::jobs::source::{SnapshotRef, SourceSummary};
use crate::policy::Policy;
use crate::policy::model::Source;
use crate::repo::Vault;
use crate::repo::head::Head;
use crate::repo::lease;
use crate::repo::listing::Listing;
use crate::repo::runs::{self, RunState};
use crate::repo::verify::Severity;

/// Runs whose records are asked for regions, the newest: as many as are read at once.
const RUNS: usize = STORE_CONCURRENCY;

/// What does not fit together.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Drift {
    /// Snapshots with the tags of this policy and vault that no backup names.
    pub unknown: Vec<Unknown>,
    /// Snapshots that backups name and that AWS does not have, or not with our tags.
    pub missing: Vec<Missing>,
}

impl Drift {
    /// Whether everything fits.
    pub fn is_empty(&self) -> bool {
        self.unknown.is_empty() && self.missing.is_empty()
    }
}

/// A snapshot that no backup names. It costs money until somebody deletes it.
#[derive(Debug, Clone, Serialize)]
pub struct Unknown {
    /// Where it is.
    pub region: String,
    /// Its id there.
    pub snapshot: String,
    /// What it shows.
    pub of: String,
    /// The backup that its tags name.
    pub backup: Option<BackupId>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// Whether a run of this vault that made no backup left it, where the next backup looks: that deletes it.
    pub left_by_run: bool,
}

/// A backup whose snapshot is gone, or has lost its tags.
#[derive(Debug, Clone, Serialize)]
pub struct Missing {
    /// The backup.
    pub backup: BackupId,
    /// Where the snapshot was.
    pub region: String,
    /// Its id.
    pub snapshot: String,
    /// What it showed.
    pub of: String,
    /// It is there, and only its tags are gone: it can be restored, and a prune leaves it alone.
    pub untagged: bool,
}

/// Compares AWS with what `listing` names; `None` where the policy is not one of snapshots.
pub async fn find(cx: &Context, vault: &Vault, policy: &Policy, listing: &Listing) -> Result<Option<Drift>> {
    if matches!(policy.source, Source::Postgres(_)) {
        return Ok(None);
    }
    let snapshots = of_policy(cx, policy)?;
    let named = named(listing, policy.source.kind())?;
    let certain = &regions(&named) | &policy.source.regions();
    let (owned, reach) = owned(vault, snapshots.as_ref(), policy, &certain).await?;
    let ended = ended_without_backup(vault, &owned, listing, None).await?;
    let there: HashSet<(&str, &str)> = owned.iter().map(|o| (o.region.as_str(), o.id.as_str())).collect();
    let known: HashSet<(&str, &str)> = named.iter().map(|(_, s)| (s.region.as_str(), s.id.as_str())).collect();
    let listed: HashSet<&BackupId> = listing.backups.iter().map(|h| &h.backup).collect();
    let lost = named.iter().filter(|(b, s)| listed.contains(b) && !there.contains(&(s.region.as_str(), s.id.as_str())));
    let missing = missing(vault, snapshots.as_ref(), listing, lost).await?;
    let unknown = owned.iter().filter(|o| !known.contains(&(o.region.as_str(), o.id.as_str()))).map(|o| Unknown {
        region: o.region.clone(),
        snapshot: o.id.clone(),
        of: o.of.clone(),
        backup: o.backup.clone(),
        started_at: o.started_at,
        left_by_run: reach.contains(&o.region) && o.backup.as_ref().is_some_and(|b| ended.contains(b)),
    });
    Ok(Some(Drift { missing, unknown: unknown.collect() }))
}

/// The vault's snapshots, in `certain` and wherever the next backup will look for what runs left: in the regions of the policy and those that the newest
/// runs recorded, which are given too. Only of `certain` not to know is an error: another region may be out of reach or closed to this role by now, and
/// nothing says that there is anything.
async fn owned(
    vault: &Vault,
    snapshots: &dyn Snapshots,
    policy: &Policy,
    certain: &BTreeSet<String>,
) -> Result<(Vec<Owned>, BTreeSet<String>)> {
    let (name, id) = (vault.policy(), &vault.info().vault_id);
    let mut owned = snapshots.owned(name, id, certain).await?;
    let mut reach = policy.source.regions();
    reach.extend(runs::newest(vault, RUNS).await?.into_iter().flat_map(|run| run.regions));
    for region in reach.difference(certain) {
        match snapshots.owned(name, id, &BTreeSet::from([region.clone()])).await {
            Ok(found) => owned.extend(found),
            Err(error) => tracing::warn!(%error, region, "whether earlier runs left snapshots in this region is not known"),
        }
    }
    Ok((owned, reach))
}

/// Of snapshots that were not found by their tags: which are gone, and which are only untagged.
async fn missing(
    vault: &Vault,
    snapshots: &dyn Snapshots,
    listing: &Listing,
    lost: impl Iterator<Item = &(BackupId, SnapshotRef)>,
) -> Result<Vec<Missing>> {
    let mut by_backup: BTreeMap<&BackupId, Vec<SnapshotRef>> = BTreeMap::new();
    for (backup, snapshot) in lost {
        by_backup.entry(backup).or_default().push(snapshot.clone());
    }
    let mut missing = Vec::new();
    for (backup, refs) in by_backup {
        let Some(head) = listing.backups.iter().find(|h| h.backup == *backup) else { continue };
        let summary = SourceSummary::of(head)?;
        let Some(set) = summary.snapshots() else { continue };
        let findings = snapshots.presence(&belonging(vault, head, set), &refs).await?;
        missing.extend(refs.into_iter().map(|s| Missing {
            backup: backup.clone(),
            untagged: findings.iter().all(|f| f.object != s.id || f.severity != Severity::Damage),
            region: s.region,
            snapshot: s.id,
            of: s.of,
        }));
    }
    Ok(missing)
}

/// Backups that runs of this vault began, that do not exist, and of which snapshots are there, with the regions of these. The caller holds the lease and
/// is the run `own`: no other run goes on.
pub(super) async fn left_by_runs(
    vault: &Vault,
    snapshots: &dyn Snapshots,
    policy: &Policy,
    own: &BackupId,
) -> Result<Vec<(Belonging, BTreeSet<String>)>> {
    // Snapshots before heads: what was committed in between is not taken for left behind.
    let (owned, _) = owned(vault, snapshots, policy, &BTreeSet::new()).await?;
    if owned.iter().all(|o| o.backup.as_ref() == Some(own)) {
        return Ok(Vec::new());
    }
    let listing = Listing::read(vault).await?;
    let ended = ended_without_backup(vault, &owned, &listing, Some(own)).await?;
    let left = ended.into_iter().map(|backup| {
        let of_backup = owned.iter().filter(|o| o.backup.as_ref() == Some(&backup));
        let regions = of_backup.map(|o| o.region.clone()).collect();
        let (policy, vault) = (vault.policy().to_owned(), vault.info().vault_id.clone());
        (Belonging { policy, vault, backup, account: None }, regions)
    });
    Ok(left.collect())
}

/// Backups of `owned` that this vault has a run of, which ended, and neither head nor tombstone. A vault that is a copy of another may have the record of
/// a run that went on in the other, and committed there: only what this very vault recorded counts.
async fn ended_without_backup(
    vault: &Vault,
    owned: &[Owned],
    listing: &Listing,
    own: Option<&BackupId>,
) -> Result<BTreeSet<BackupId>> {
    let heads = listing.backups.iter().map(|h| &h.backup);
    let marked = listing.marked.iter().chain(&listing.half_swept).map(|t| &t.backup);
    let exist: HashSet<&BackupId> = heads.chain(marked).chain(listing.damaged.iter().map(|d| &d.backup)).collect();
    // The head of a run that lost its lease may still be on its way.
    let pending = lease::pending(vault).await?;
    let may_go = |b: &&BackupId| !exist.contains(b) && !pending.contains(b) && Some(*b) != own;
    let candidates: BTreeSet<&BackupId> = owned.iter().filter_map(|o| o.backup.as_ref()).filter(may_go).collect();
    let (here, mut ended) = (vault.describe(), BTreeSet::new());
    for backup in candidates {
        let record = runs::find(vault, &RunId::from(backup)).await?;
        if record.is_some_and(|run| run.state != RunState::Running && run.vault.as_deref() == Some(here.as_str())) {
            ended.insert(backup.clone());
        }
    }
    Ok(ended)
}

/// Every snapshot that heads and tombstones name, with its backup.
fn named(listing: &Listing, kind: &str) -> Result<Vec<(BackupId, SnapshotRef)>> {
    let marked = listing.marked.iter().chain(&listing.half_swept).map(|t| &t.head);
    let heads: HashMap<&BackupId, &Head> = listing.backups.iter().chain(marked).map(|h| (&h.backup, h)).collect();
    let mut named = Vec::new();
    for (backup, head) in heads {
        let summary = SourceSummary::of(head)?;
        if let Some(set) = summary.snapshots().filter(|_| summary.kind() == kind) {
            named.extend(set.snapshots.iter().map(|s| (backup.clone(), s.clone())));
        }
    }
    named.sort_by(|a, b| (&a.0, &a.1.region, &a.1.id).cmp(&(&b.0, &b.1.region, &b.1.id)));
    Ok(named)
}

fn regions(named: &[(BackupId, SnapshotRef)]) -> BTreeSet<String> {
    named.iter().map(|(_, s)| s.region.clone()).collect()
}
