//! Snapshots that exist: whether they are there, whose they are, and their deletion.

use std::collections::BTreeSet;

use super::by_region;
use crate::base::{Error, Result};
use crate::cloud::account;
use crate::cloud::ebs::Ebs;
use crate::cloud::ebs::snapshots::{Deleted, Snapshot, State};
use crate::cloud::tags::{self, Belonging, Tags};
use crate::jobs::snapshot::presence::finding;
use crate::jobs::snapshot::{Owned, Released};
use crate::jobs::source::SnapshotRef;
use crate::repo::verify::Finding;

/// By region, what is wanted and what of it is there; an error where nothing is because the credentials are of another account.
async fn seen<'a>(
    belonging: &Belonging,
    snapshots: &'a [SnapshotRef],
) -> Result<Vec<(Ebs, Vec<&'a SnapshotRef>, Vec<Snapshot>)>> {
    let mut all = Vec::new();
    for (region, wanted) in by_region(snapshots) {
        let ebs = Ebs::connect(region).await?;
        let ids: Vec<String> = wanted.iter().map(|s| s.id.clone()).collect();
        let seen = ebs.snapshots_by_id(&ids).await?;
        all.push((ebs, wanted, seen));
    }
    if let Some((ebs, ..)) = all.first().filter(|_| all.iter().all(|(.., seen)| seen.is_empty())) {
        account::expect(belonging.account.as_deref(), ebs.region()).await?;
    }
    Ok(all)
}

pub(super) async fn presence(belonging: &Belonging, snapshots: &[SnapshotRef]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (_, wanted, seen) in seen(belonging, snapshots).await? {
        for snapshot in wanted {
            findings.extend(judge(belonging, snapshot, seen.iter().find(|s| s.id == snapshot.id)));
        }
    }
    Ok(findings)
}

fn judge(belonging: &Belonging, snapshot: &SnapshotRef, seen: Option<&Snapshot>) -> Option<Finding> {
    let Some(seen) = seen else { return Some(finding("snapshot-missing", snapshot, "is gone")) };
    match seen.state {
        State::Completed if belonging.marks(&seen.tags) => None,
        State::Completed => {
            let text = format!("snapshot {} of {} lost its tags: a prune will leave it alone", snapshot.id, snapshot.of);
            Some(Finding::warning("snapshot-untagged", &snapshot.id, text))
        }
        State::Pending => Some(finding("snapshot-incomplete", snapshot, "is not completed")),
        State::Error => Some(finding("snapshot-failed", snapshot, "is in state error")),
        State::Recycled => Some(finding("snapshot-missing", snapshot, "was deleted and lies in the Recycle Bin")),
    }
}

pub(super) async fn release(belonging: &Belonging, snapshots: &[SnapshotRef]) -> Result<Released> {
    let (mut released, mut held) = (Released::default(), Vec::new());
    for (ebs, _, seen) in seen(belonging, snapshots).await? {
        let (ours, others): (Vec<_>, Vec<_>) = seen.into_iter().partition(|s| belonging.marks(&s.tags));
        released.left.extend(others.into_iter().map(|s| s.id));
        let ours: Vec<String> = ours.into_iter().map(|s| s.id).collect();
        for outcome in ebs.delete_snapshots(&ours).await? {
            match outcome {
                Deleted::Now => released.deleted += 1,
                Deleted::Before => {}
                Deleted::Held(why) => held.push(why),
            }
        }
    }
    released.held = (!held.is_empty()).then(|| held.join("; "));
    Ok(released)
}

pub(super) async fn owned(regions: &BTreeSet<String>, policy: &str, vault: &str) -> Result<Vec<Owned>> {
    let wanted: Tags = [(tags::POLICY, policy), (tags::VAULT, vault)]
        .into_iter()
        .map(|(key, text)| (key.to_owned(), tags::value(text)))
        .collect();
    let mut owned = Vec::new();
    for region in regions {
        let found = Ebs::connect(region).await?.find_snapshots(&wanted).await?;
        owned.extend(found.into_iter().filter(|s| s.state != State::Recycled).map(|s| Owned {
            region: region.clone(),
            backup: s.tags.get(tags::BACKUP).and_then(|id| id.parse().ok()),
            started_at: s.started_at,
            of: s.volume,
            id: s.id,
        }));
    }
    Ok(owned)
}

pub(super) async fn abandon(regions: &BTreeSet<String>, belonging: &Belonging) -> Result<usize> {
    let mut deleted = 0;
    for region in regions {
        let ebs = Ebs::connect(region).await?;
        let found = ebs.find_snapshots(&belonging.tags()).await?;
        let ids: Vec<String> = found.into_iter().filter(|s| belonging.marks(&s.tags)).map(|s| s.id).collect();
        delete(&ebs, &ids).await?;
        deleted += ids.len();
    }
    Ok(deleted)
}

/// Deletes snapshots; one that cannot be deleted is an error.
pub(super) async fn delete(ebs: &Ebs, ids: &[String]) -> Result<()> {
    for outcome in ebs.delete_snapshots(ids).await? {
        if let Deleted::Held(why) = outcome {
            return Err(Error::conflict(why));
        }
    }
    Ok(())
}
