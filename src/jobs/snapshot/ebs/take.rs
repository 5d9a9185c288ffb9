//! Starts the snapshots of a backup: one call for the volumes of an instance, so that they show one instant.

use std::collections::{BTreeMap, BTreeSet};

use super::documents::VolumeDocument;
use super::select::{Group, Selection, select};
use super::waiting::once;
use super::{EbsSnapshots, GIB};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::cloud::ebs::Ebs;
use crate::cloud::ebs::snapshots::{Snapshot, named};
use crate::cloud::ebs::volumes::{Volume, Which};
use crate::cloud::tags::{self, Tags};
use crate::jobs::snapshot::quiesce::{self, Rest};
use crate::jobs::snapshot::{Order, Taken};
use crate::jobs::source::{SnapshotRef, SnapshotSummary};

/// One backup's calls.
struct Calls<'a> {
    of: &'a EbsSnapshots,
    ebs: &'a Ebs,
    order: &'a Order,
    tags: Tags,
    description: String,
    shutdown: &'a Shutdown,
}

pub(super) async fn take(of: &EbsSnapshots, order: &Order, shutdown: &Shutdown) -> Result<Taken> {
    let source = of.source()?;
    let ebs = shutdown.guard(Ebs::connect(&source.region)).await?;
    of.progress.stage("snapshot", None);
    let selection = shutdown.guard(select(&ebs, source)).await?;
    let calls = Calls { of, ebs: &ebs, order, tags: tags_of(of, order, &selection), description: description(order), shutdown };
    let found = shutdown.guard(ebs.find_snapshots(&order.belonging.tags())).await?;
    let (snapshots, notes) = if whole(&found, &selection) {
        (found, Vec::new())
    } else {
        let instances: Vec<&str> = selection.groups.iter().map(|g| g.instance.id.as_str()).collect();
        let rest = Rest { settings: source.quiesce.as_ref(), order, region: &source.region, instances: &instances };
        quiesce::during(&rest, shutdown, calls.all(&selection, &found)).await?
    };
    let mut taken = calls.taken(selection, snapshots).await?;
    taken.warnings.extend(notes);
    Ok(taken)
}

fn whole(found: &[Snapshot], selection: &Selection) -> bool {
    selection.volumes().all(|v| found.iter().any(|s| s.volume == v.id))
}

fn tags_of(of: &EbsSnapshots, order: &Order, selection: &Selection) -> Tags {
    let mut tags = order.belonging.tags();
    tags.insert(tags::SET_SIZE.to_owned(), selection.volumes().count().to_string());
    tags.insert(tags::TAKEN_AT.to_owned(), tags::value(&of.clock.now().to_string()));
    if let Some(label) = &order.label {
        tags.insert(tags::LABEL.to_owned(), tags::value(label));
    }
    named(tags, &format!("{} {}", order.belonging.policy, order.belonging.backup))
}

/// What consoles show beside the name; at most 255 characters.
pub(super) fn description(order: &Order) -> String {
    let label = order.label.as_ref().map(|l| format!(", {}", tags::value(l))).unwrap_or_default();
    format!("pgkeep backup {} of {}{label}", order.belonging.backup, order.belonging.policy).chars().take(255).collect()
}

impl Calls<'_> {
    async fn all(&self, selection: &Selection, found: &[Snapshot]) -> Result<Vec<Snapshot>> {
        let mut all = Vec::new();
        for group in &selection.groups {
            let volumes: BTreeSet<&str> = group.volumes.iter().map(|v| v.id.as_str()).collect();
            match there(found, &volumes)? {
                Some(snapshots) => all.extend(snapshots),
                None => all.extend(self.set(group, &volumes).await?),
            }
        }
        for volume in &selection.loose {
            match found.iter().find(|s| s.volume == volume.id) {
                Some(snapshot) => all.push(snapshot.clone()),
                None => all.push(self.one(volume).await?),
            }
        }
        Ok(all)
    }

    async fn set(&self, group: &Group, volumes: &BTreeSet<&str>) -> Result<Vec<Snapshot>> {
        let instance = &group.instance.id;
        let call = || self.ebs.create_set(instance, group.exclude_root, &group.excluded, &self.description, &self.tags);
        let find = || async { there(&self.found().await?, volumes) };
        let mut taken = once(self.of.clock.as_ref(), self.shutdown, call, find).await?;
        let lost: Vec<&str> = volumes.iter().filter(|v| taken.iter().all(|s| s.volume != **v)).copied().collect();
        if !lost.is_empty() {
            return Err(Error::unavailable(format!("AWS took no snapshot of {} with the others of {instance}", lost.join(", ")))
                .hint("volumes were attached or detached meanwhile; run the backup again"));
        }
        taken.sort_by(|a, b| a.volume.cmp(&b.volume));
        Ok(taken)
    }

    async fn one(&self, volume: &Volume) -> Result<Snapshot> {
        let call = || self.ebs.create_one(&volume.id, &self.description, &self.tags);
        let find = || async { Ok(self.found().await?.into_iter().find(|s| s.volume == volume.id)) };
        once(self.of.clock.as_ref(), self.shutdown, call, find).await
    }

    async fn found(&self) -> Result<Vec<Snapshot>> {
        self.ebs.find_snapshots(&self.order.belonging.tags()).await
    }

    /// Puts down what was taken, with every volume as it was.
    async fn taken(&self, selection: Selection, snapshots: Vec<Snapshot>) -> Result<Taken> {
        let mut warnings = selection.warnings.clone();
        let mut volumes: BTreeMap<String, Volume> = selection.volumes().map(|v| (v.id.clone(), v.clone())).collect();
        let new: Vec<String> = snapshots.iter().map(|s| s.volume.clone()).filter(|v| !volumes.contains_key(v)).collect();
        if !new.is_empty() {
            warnings.push(format!("attached while the snapshots were taken, and in the backup too: {}", new.join(", ")));
            let described = self.shutdown.guard(self.ebs.volumes(Which::Ids(&new))).await?;
            volumes.extend(described.into_iter().map(|v| (v.id.clone(), v)));
        }
        let now = self.of.clock.now();
        let region = self.ebs.region();
        let (mut refs, mut documents) = (Vec::new(), Vec::new());
        for snapshot in &snapshots {
            let volume = volumes.get(&snapshot.volume).cloned().ok_or_else(|| {
                Error::internal(format!("snapshot {} shows volume {}, which nobody asked for", snapshot.id, snapshot.volume))
            })?;
            refs.push(SnapshotRef {
                region: region.to_owned(),
                id: snapshot.id.clone(),
                of: volume.id.clone(),
                bytes: u64::from(volume.size_gib) * GIB,
                copy_of: None,
            });
            let document = VolumeDocument { snapshot: snapshot.id.clone(), region: region.to_owned(), volume };
            documents.push(document.document()?);
        }
        Ok(Taken {
            consistent_at: snapshots.iter().filter_map(|s| s.started_at).max().unwrap_or(now),
            summary: SnapshotSummary {
                account: snapshots.iter().find_map(|s| s.account.clone()),
                region: region.to_owned(),
                of: selection.describe(),
                consistent_set: selection.is_consistent(),
                snapshots: refs,
            },
            documents,
            warnings,
        })
    }
}

/// The snapshots of `volumes` among those found; `None`: none of them. A part of a set is no set.
fn there(found: &[Snapshot], volumes: &BTreeSet<&str>) -> Result<Option<Vec<Snapshot>>> {
    let set: Vec<Snapshot> = found.iter().filter(|s| volumes.contains(s.volume.as_str())).cloned().collect();
    let shown: BTreeSet<&str> = set.iter().map(|s| s.volume.as_str()).collect();
    if set.is_empty() {
        return Ok(None);
    }
    if shown.len() < volumes.len() {
        return Err(Error::unavailable(format!("AWS took snapshots of {} of {} volumes", shown.len(), volumes.len()))
            .hint("they are deleted; run the backup again"));
    }
    Ok(Some(set))
}
