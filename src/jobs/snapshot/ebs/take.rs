//! Starts the snapshots of a backup: one call for the volumes of an instance, so that they show one instant.

use std::collections::{BTreeMap, BTreeSet};

use super::documents::VolumeDocument;
use super::once::once;
use super::select::{Group, Selection, select};
use super::{EbsSnapshots, GIB};
use crate::base::ids::random_hex;
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
        (calls.all(&selection, &found).await?, Vec::new())
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
    selection.groups.iter().all(|g| there(found, &ids(g)).is_some())
        && selection.loose.iter().all(|v| found.iter().any(|s| s.volume == v.id))
}

fn ids(group: &Group) -> BTreeSet<&str> {
    group.volumes.iter().map(|v| v.id.as_str()).collect()
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
            let volumes = ids(group);
            match there(found, &volumes) {
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
        let call = || async {
            let tags = self.tags_of_call();
            self.ebs.create_set(instance, group.exclude_root, &group.excluded, &self.description, &tags).await
        };
        let find = || async { Ok(there(&self.found().await?, volumes)) };
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
        let call = || async { self.ebs.create_one(&volume.id, &self.description, &self.tags_of_call()).await };
        let find = || async { Ok(self.found().await?.into_iter().find(|s| s.volume == volume.id)) };
        once(self.of.clock.as_ref(), self.shutdown, call, find).await
    }

    fn tags_of_call(&self) -> Tags {
        let mut tags = self.tags.clone();
        tags.insert(tags::CALL.to_owned(), random_hex(4));
        tags
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
            anomalies: Vec::new(),
        })
    }
}

/// The snapshots of `volumes` that one call made, among those found; `None`: no call made all of them, or not all can be seen yet. Of several calls, because
/// answers were lost, the last one counts; what the others made is deleted when the set is complete.
fn there(found: &[Snapshot], volumes: &BTreeSet<&str>) -> Option<Vec<Snapshot>> {
    let mut calls: BTreeMap<&str, BTreeMap<&str, &Snapshot>> = BTreeMap::new();
    for snapshot in found.iter().filter(|s| volumes.contains(s.volume.as_str())) {
        let call = snapshot.tags.get(tags::CALL).map_or("", String::as_str);
        calls.entry(call).or_default().insert(&snapshot.volume, snapshot);
    }
    let whole = calls.into_values().filter(|set| set.len() == volumes.len());
    let last = whole.max_by_key(|set| set.values().filter_map(|s| s.started_at).max());
    last.map(|set| set.into_values().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::ebs::snapshots::State;

    fn snapshot(id: &str, volume: &str, call: &str, second: i64) -> Snapshot {
        Snapshot {
            id: id.to_owned(),
            volume: volume.to_owned(),
            started_at: jiff::Timestamp::from_second(second).ok(),
            tags: Tags::from([(tags::CALL.to_owned(), call.to_owned())]),
            account: None,
            size_gib: 1,
            state: State::Pending,
            message: None,
            progress: 0,
            encrypted: false,
            kms_key_id: None,
            archived: false,
        }
    }

    #[test]
    fn a_set_is_of_one_call_and_whole() {
        let volumes = BTreeSet::from(["vol-1", "vol-2"]);
        let ids = |found: &[Snapshot]| there(found, &volumes).map(|set| set.into_iter().map(|s| s.id).collect::<Vec<_>>());
        assert_eq!(ids(&[]), None);
        let (a, b) = (snapshot("a", "vol-1", "first", 1), snapshot("b", "vol-2", "first", 2));
        assert_eq!(ids(std::slice::from_ref(&a)), None, "the other cannot be seen yet");
        let (c, d) = (snapshot("c", "vol-1", "second", 8), snapshot("d", "vol-2", "second", 9));
        assert_eq!(ids(&[a.clone(), d.clone()]), None, "halves of two calls show two instants");
        let other = snapshot("x", "vol-9", "second", 9);
        assert_eq!(ids(&[d.clone(), a.clone(), b.clone(), other.clone()]), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(ids(&[d, a, c, b, other]), Some(vec!["c".to_owned(), "d".to_owned()]), "the last call counts");
    }
}
