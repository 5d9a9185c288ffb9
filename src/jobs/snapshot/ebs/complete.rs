//! From snapshots that were started to a backup: completed, copied, archived and locked as the policy wants.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::patience::Patience;
use super::documents::CopyDocument;
use super::once::once;
use super::take::description;
use super::{EbsSnapshots, GIB, by_region, keep};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::cloud::ebs::Ebs;
use crate::cloud::ebs::snapshots::{Snapshot, State, named};
use crate::cloud::tags::{self, Tags};
use crate::jobs::snapshot::{Order, Taken};
use crate::jobs::source::SnapshotRef;
use crate::policy::model::LockMode;
use crate::repo::contents::Document;

pub(super) async fn complete(of: &EbsSnapshots, order: &Order, taken: &mut Taken, shutdown: &Shutdown) -> Result<()> {
    let source = of.source()?;
    let originals = taken.summary.snapshots.clone();
    let completed = wait(of, "snapshots", &source.region, &originals, shutdown).await?;
    let mut lacking = BTreeSet::new();
    for region in &source.copy_to {
        match copy(of, order, region, &completed, taken, shutdown).await {
            Ok((copies, documents)) => {
                taken.summary.snapshots.extend(copies);
                taken.documents.extend(documents);
            }
            // The snapshots at home are whole, and may be the only ones for a long time.
            Err(error) => {
                shutdown.check()?;
                taken.anomalies.push(format!("it has no copy in {region}: {}", error.full_message()));
                lacking.insert(region.clone());
            }
        }
    }
    shutdown.guard(clear_rest(of, order, taken, &lacking)).await?;
    if source.archive {
        taken.warnings.push("the originals move to the archive tier: a restore of them takes 24 to 72 hours".to_owned());
    }
    Ok(())
}

/// Once the backup exists, so that a run that fails leaves nothing that cannot be deleted, or that is billed for months.
pub(super) async fn settle(of: &EbsSnapshots, snapshots: &[SnapshotRef], shutdown: &Shutdown) -> Result<()> {
    let source = of.source()?;
    // Originals without a copy stay at hand.
    let copied = source.copy_to.iter().all(|region| snapshots.iter().any(|s| s.region == *region));
    for (region, members) in by_region(snapshots) {
        let ebs = shutdown.guard(Ebs::connect(region)).await?;
        if source.archive && copied {
            for original in members.iter().filter(|s| s.copy_of.is_none()) {
                shutdown.guard(ebs.archive(&original.id)).await?;
            }
        }
        if let Some(lock) = source.lock {
            for snapshot in &members {
                let compliance = lock.mode == LockMode::Compliance;
                shutdown.guard(ebs.lock(&snapshot.id, compliance, lock.days, lock.cool_off_hours)).await?;
            }
        }
    }
    Ok(())
}

/// Waits until all of these snapshots are completed. Progress is counted in bytes of the volumes.
async fn wait(
    of: &EbsSnapshots,
    stage: &str,
    region: &str,
    wanted: &[SnapshotRef],
    shutdown: &Shutdown,
) -> Result<Vec<Snapshot>> {
    of.progress.stage(stage, Some(wanted.iter().map(|s| s.bytes).sum()));
    let mut ebs = shutdown.guard(Ebs::connect(region)).await?;
    let ids: Vec<String> = wanted.iter().map(|s| s.id.clone()).collect();
    let mut patience = Patience::new(&of.clock);
    let mut done: HashMap<&str, u8> = HashMap::new();
    loop {
        let look = shutdown.guard(ebs.snapshots_by_id(&ids)).await;
        if let Some(seen) = patience.seen(look, &mut ebs).await? {
            for snapshot in wanted {
                let now = seen.iter().find(|s| s.id == snapshot.id);
                check(snapshot, now, patience.may_be_invisible())?;
                if let Some(now) = now {
                    advance(of, snapshot, now, &mut done);
                }
            }
            if seen.len() == wanted.len() && seen.iter().all(|s| s.state == State::Completed) {
                return Ok(seen);
            }
        }
        shutdown.guard(patience.pause()).await?;
    }
}

fn check(wanted: &SnapshotRef, seen: Option<&Snapshot>, fresh: bool) -> Result<()> {
    let what = format!("snapshot {} of {} in {}", wanted.id, wanted.of, wanted.region);
    match seen {
        None if fresh => Ok(()),
        None => Err(Error::unavailable(format!("{what} is gone before it was completed"))
            .hint("somebody or something deletes snapshots; run the backup again")),
        Some(seen) if seen.state == State::Error => {
            let why = seen.message.as_ref().map(|m| format!(": {m}")).unwrap_or_default();
            let key = if seen.encrypted { "; often the KMS key may not be used by this role in that region" } else { "" };
            Err(Error::unavailable(format!("{what} failed{why}")).hint(format!("the set is deleted; run the backup again{key}")))
        }
        Some(seen) if seen.state == State::Recycled => {
            Err(Error::unavailable(format!("{what} was deleted into the Recycle Bin before it was completed")))
        }
        Some(_) => Ok(()),
    }
}

fn advance<'a>(of: &EbsSnapshots, wanted: &'a SnapshotRef, seen: &Snapshot, done: &mut HashMap<&'a str, u8>) {
    let now = if seen.state == State::Completed { 100 } else { seen.progress.min(99) };
    let before = done.entry(&wanted.id).or_default();
    if now > *before {
        of.progress.advance(wanted.bytes / 100 * u64::from(now - *before));
        // Hours of waiting are told in ten lines a volume.
        if now / 10 > *before / 10 {
            of.progress.note(&format!("{}: {now} %, {} GiB", wanted.of, wanted.bytes / GIB));
        }
        *before = now;
    }
}

/// Starts the copies of `originals` in `region`, or finds those that were started before, and waits until they are completed.
async fn copy(
    of: &EbsSnapshots,
    order: &Order,
    region: &str,
    originals: &[Snapshot],
    taken: &Taken,
    shutdown: &Shutdown,
) -> Result<(Vec<SnapshotRef>, Vec<Document>)> {
    let source = of.source()?;
    let ebs = shutdown.guard(Ebs::connect(region)).await?;
    let key = source.copy_kms_keys.get(region).map(String::as_str);
    let text = description(order);
    let (mut copies, mut documents) = (Vec::with_capacity(originals.len()), Vec::with_capacity(originals.len()));
    let volumes: BTreeMap<String, SnapshotRef> = taken.summary.snapshots.iter().map(|s| (s.id.clone(), s.clone())).collect();
    let mut there = shutdown.guard(ebs.find_snapshots(&order.belonging.tags())).await?;
    for original in originals {
        let of_original =
            |found: &[Snapshot]| found.iter().find(|s| s.tags.get(tags::COPY_OF) == Some(&original.id)).map(|s| s.id.clone());
        let id = if let Some(id) = of_original(&there) {
            id
        } else {
            let tags = copy_tags(order, original);
            let call = || ebs.copy(&source.region, original, key, &text, &tags);
            let find = || async { Ok(of_original(&ebs.find_snapshots(&order.belonging.tags()).await?)) };
            once(of.clock.as_ref(), shutdown, call, find).await?
        };
        there.retain(|s| s.id != id);
        let Some(member) = volumes.get(&original.id) else {
            return Err(Error::internal(format!("{} is no snapshot of the backup", original.id)));
        };
        let document = CopyDocument {
            snapshot: id.clone(),
            region: region.to_owned(),
            copy_of: original.id.clone(),
            kms_key_id: key.map(str::to_owned),
        };
        documents.push(document.document()?);
        copies.push(SnapshotRef { region: region.to_owned(), id, copy_of: Some(original.id.clone()), ..member.clone() });
    }
    wait(of, &format!("copies in {region}"), region, &copies, shutdown).await?;
    Ok((copies, documents))
}

fn copy_tags(order: &Order, original: &Snapshot) -> Tags {
    let mut tags = original.tags.clone();
    tags.retain(|key, _| !key.starts_with("aws:"));
    tags.extend(order.belonging.tags());
    tags.insert(tags::COPY_OF.to_owned(), original.id.clone());
    named(tags, &format!("{} {}", order.belonging.policy, order.belonging.backup))
}

/// Deletes what carries this backup's tags and is not in it: a call whose answer was lost, and that was seen to have been carried out only after it had
/// been repeated; and copies where not all could be had (`lacking`), as far as those regions answer.
async fn clear_rest(of: &EbsSnapshots, order: &Order, taken: &Taken, lacking: &BTreeSet<String>) -> Result<()> {
    let kept: BTreeSet<&str> = taken.summary.snapshots.iter().map(|s| s.id.as_str()).collect();
    for region in of.regions(&BTreeSet::new()) {
        match clear_region(&region, order, &kept).await {
            Err(error) if lacking.contains(&region) => tracing::warn!(region, %error, "copies that were begun there may stay"),
            cleared => cleared?,
        }
    }
    Ok(())
}

async fn clear_region(region: &str, order: &Order, kept: &BTreeSet<&str>) -> Result<()> {
    let ebs = Ebs::connect(region).await?;
    let found = ebs.find_snapshots(&order.belonging.tags()).await?;
    let rest: Vec<String> = found.into_iter().map(|s| s.id).filter(|id| !kept.contains(id.as_str())).collect();
    if !rest.is_empty() {
        tracing::info!(region, snapshots = ?rest, "deleting snapshots that are not in the backup");
        keep::delete(&ebs, &rest).await?;
    }
    Ok(())
}
