//! New volumes of the snapshots of a backup, attached if that is wanted.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::super::patience::Patience;
use super::documents::{VolumeDocument, read};
use super::{EbsSnapshots, GIB};
use crate::base::ids::RunId;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::cloud::account;
use crate::cloud::ebs::snapshots::{Snapshot, State};
use crate::cloud::ebs::volumes::{Instance, NewVolume, Volume, Which};
use crate::cloud::ebs::{Ebs, region_of_zone};
use crate::cloud::tags;
use crate::jobs::snapshot::Saved;
use crate::jobs::snapshot::restore::{Made, PlannedCall, Restored, SnapshotPlan, Target, ToVolumes};

/// Tags of the old volume that a new one gets: AWS takes 50 of each resource, and two are ours.
const TAGS_KEPT: usize = 48;

/// How long AWS needs to make volumes, in seconds: some for the first, little for each further one.
const MAKE_SECONDS: u64 = 30;
/// The same for attaching one.
const ATTACH_SECONDS: u64 = 10;
/// How long AWS may take to bring a snapshot back from the archive tier.
const UNARCHIVE_SECONDS: u64 = 72 * 3600;
/// How long that is waited for: some time more.
const UNARCHIVE_LONGEST: Duration = Duration::from_secs(96 * 3600);
/// For how many days a snapshot is brought back.
const UNARCHIVE_DAYS: u32 = 7;
/// Letters that EC2 recommends for data volumes.
const LETTERS: std::ops::RangeInclusive<char> = 'f'..='p';

/// A restore, looked at.
#[derive(Debug)]
pub(super) struct Restore<'a> {
    saved: &'a Saved,
    to: &'a ToVolumes,
    ebs: Ebs,
    instance: Option<Instance>,
    members: Vec<Member>,
    notes: Vec<String>,
}

/// One volume to be made.
#[derive(Debug)]
struct Member {
    document: VolumeDocument,
    snapshot: Snapshot,
    new: NewVolume,
    /// Where it is attached.
    device: Option<String>,
}

impl Member {
    /// Where the volume was attached; the place of a root volume belongs to the root of the new instance.
    fn device_before(&self) -> Option<String> {
        self.document.volume.attachments.first().filter(|a| !a.root).map(|a| a.device.clone())
    }
}

impl<'a> Restore<'a> {
    /// Asks AWS what is there; changes nothing.
    pub(super) async fn look(saved: &'a Saved, target: &'a Target) -> Result<Self> {
        let Target::Volumes(to) = target else {
            return Err(Error::usage("a backup of EBS volumes is restored to an availability zone")
                .hint("say which: --to-zone eu-west-1a"));
        };
        let region = region_of_zone(&to.zone)
            .ok_or_else(|| Error::usage(format!("'{}' is no availability zone", to.zone)).hint("zones look like eu-west-1a"))?;
        let (volumes, copies) = read(&saved.documents)?;
        if volumes.is_empty() {
            return Err(Error::integrity(format!("the contents of backup {} name no volume", saved.head.backup)));
        }
        let ids = ids_in(&region, &volumes, &copies.iter().map(|c| (&*c.region, &*c.copy_of, &*c.snapshot)).collect::<Vec<_>>())?;
        let ebs = Ebs::connect(&region).await?;
        let seen = ebs.snapshots_by_id(&ids).await?;
        if seen.is_empty() {
            account::expect(saved.belonging.account.as_deref(), &region).await?;
        }
        let mut this = Self { saved, to, ebs, instance: None, members: Vec::new(), notes: Vec::new() };
        for (document, id) in volumes.into_iter().zip(ids) {
            let snapshot = seen.iter().find(|s| s.id == id).cloned().ok_or_else(|| {
                Error::integrity(format!("snapshot {id} of {} is gone from {region}", document.volume.id))
                    .hint("another backup, or a copy in another region, may be whole: `pgkeep verify --all`")
            })?;
            if snapshot.state != State::Completed {
                return Err(Error::integrity(format!("snapshot {id} of {} is not completed", document.volume.id)));
            }
            let new = this.volume(&document, &snapshot)?;
            this.members.push(Member { document, snapshot, new, device: None });
        }
        if to.size_gib.is_some() && this.members.len() > 1 {
            return Err(Error::usage(format!("--size fits one volume, and the backup has {}", this.members.len()))
                .hint("restore without it and grow the volumes with ModifyVolume"));
        }
        if let Some(instance) = &to.attach {
            this.attach_to(instance).await?;
        }
        this.remark().await;
        Ok(this)
    }

    fn volume(&self, document: &VolumeDocument, snapshot: &Snapshot) -> Result<NewVolume> {
        let was = &document.volume;
        let size_gib = self.to.size_gib.unwrap_or(was.size_gib);
        if size_gib < snapshot.size_gib {
            return Err(Error::usage(format!("--size {size_gib} is smaller than the {} GiB of {}", snapshot.size_gib, was.id)));
        }
        let volume_type = self.to.volume_type.clone().unwrap_or_else(|| was.volume_type.clone());
        let same = volume_type == was.volume_type;
        let iops = match volume_type.as_str() {
            "gp3" if same || was.iops.is_some_and(|n| n > 3000) => was.iops.map(|n| if same { n } else { n.clamp(3000, 16_000) }),
            "io1" | "io2" => Some(was.iops.unwrap_or(100).max(100)),
            _ => None,
        };
        let mut tags = was.tags.clone();
        tags.retain(|key, _| !key.starts_with("aws:") && !key.starts_with("pgkeep:"));
        if tags.len() > TAGS_KEPT {
            tracing::warn!(volume = was.id, left_out = tags.len() - TAGS_KEPT, "AWS takes 50 tags; the last ones are left out");
            while tags.len() > TAGS_KEPT {
                tags.pop_last();
            }
        }
        tags.insert(tags::RESTORED_FROM.to_owned(), self.saved.head.backup.to_string());
        Ok(NewVolume {
            zone: self.to.zone.clone(),
            snapshot: snapshot.id.clone(),
            size_gib,
            throughput: was.throughput.filter(|_| volume_type == "gp3"),
            multi_attach: was.multi_attach && matches!(volume_type.as_str(), "io1" | "io2"),
            iops,
            volume_type,
            tags,
            token: String::new(),
        })
    }

    async fn attach_to(&mut self, id: &str) -> Result<()> {
        let instance = self.ebs.instance(id).await?;
        if instance.zone != self.to.zone {
            return Err(Error::usage(format!("{id} is in {}, not in {}", instance.zone, self.to.zone))
                .hint("volumes attach to instances of their own zone only"));
        }
        if !["running", "stopped"].contains(&instance.state.as_str()) {
            return Err(Error::conflict(format!("{id} is {}: nothing can be attached to it", instance.state)));
        }
        let mut used: BTreeSet<String> = instance.devices.iter().map(|(device, _)| device.clone()).collect();
        // Who can have the old place back has it before others look for a new one.
        let (kept, moved): (Vec<usize>, Vec<usize>) = (0..self.members.len()).partition(|i| {
            let before = self.members[*i].device_before();
            before.is_some() && free_device(before.as_deref(), &used) == before
        });
        for i in kept.into_iter().chain(moved) {
            let member = &mut self.members[i];
            let before = member.device_before();
            let device = free_device(before.as_deref(), &used).ok_or_else(|| {
                Error::conflict(format!("{id} has no free device for {}", member.document.volume.id))
                    .hint("detach what is not needed, or restore without --attach")
            })?;
            if before.as_ref() != Some(&device) {
                let was = before.unwrap_or_else(|| "elsewhere".to_owned());
                self.notes.push(format!("{} was at {was} and will be at {device}", member.document.volume.id));
            }
            used.insert(device.clone());
            member.device = Some(device);
        }
        self.instance = Some(instance);
        Ok(())
    }

    async fn remark(&mut self) {
        if self.members.iter().any(|m| m.snapshot.archived) {
            self.notes.push(
                "snapshots lie in the archive tier: AWS takes 24 to 72 hours to bring them back, and charges for it by size"
                    .to_owned(),
            );
        }
        self.notes.push(
            "blocks are fetched from S3 when they are first read: until then reads are slow; fast snapshot restore, or reading the whole device once, ends that"
                .to_owned(),
        );
        if !self.saved.summary.consistent_set {
            self.notes.push("the snapshots do not show one instant: they were taken by several calls".to_owned());
        }
        let before = [(tags::RESTORED_FROM.to_owned(), self.saved.head.backup.to_string())];
        // A help, not a need: nothing depends on it.
        if let Ok(there) = self.ebs.volumes(Which::Tagged(&before)).await
            && !there.is_empty()
        {
            let ids: Vec<&str> = there.iter().map(|v| v.id.as_str()).collect();
            self.notes.push(format!("volumes of this backup exist from an earlier restore: {}", ids.join(", ")));
        }
    }

    /// What will be done.
    pub(super) fn plan(&self) -> SnapshotPlan {
        let mut calls = Vec::new();
        let call = |operation: &str, member: &Member, parameters: serde_json::Value| PlannedCall {
            operation: operation.to_owned(),
            of: member.document.volume.id.clone(),
            parameters,
        };
        for member in self.members.iter().filter(|m| m.snapshot.archived) {
            let parameters = json!({ "SnapshotId": member.snapshot.id, "TemporaryRestoreDays": UNARCHIVE_DAYS });
            calls.push(call("RestoreSnapshotTier", member, parameters));
        }
        calls.extend(self.members.iter().map(|m| call("CreateVolume", m, parameters(&m.new))));
        for member in &self.members {
            if let (Some(instance), Some(device)) = (&self.instance, &member.device) {
                calls.push(call("AttachVolume", member, json!({ "InstanceId": instance.id, "Device": device })));
            }
        }
        let count = self.members.len() as u64;
        let archived = self.members.iter().any(|m| m.snapshot.archived);
        let attach = if self.instance.is_some() { ATTACH_SECONDS * count } else { 0 };
        let estimated_seconds = seconds(count) + attach + if archived { UNARCHIVE_SECONDS } else { 0 };
        let whole = if archived { "bringing back from the archive tier, then " } else { "" };
        SnapshotPlan {
            region: self.ebs.region().to_owned(),
            target: match &self.instance {
                Some(instance) => format!("{count} new volumes in {}, attached to {}", self.to.zone, instance.id),
                None => format!("{count} new volumes in {}", self.to.zone),
            },
            calls,
            bytes: self.members.iter().map(|m| u64::from(m.new.size_gib) * GIB).sum(),
            estimated_seconds,
            estimate: format!("{whole}making volumes does not depend on their size; an estimate, nothing was measured"),
            notes: self.notes.clone(),
            shows: None,
            point_in_time: None,
        }
    }

    /// Does it.
    pub(super) async fn execute(mut self, of: &EbsSnapshots, run: &RunId, shutdown: &Shutdown) -> Result<Restored> {
        self.unarchive(of, shutdown).await?;
        let mut made: Vec<Volume> = Vec::new();
        let outcome = self.make(of, run, shutdown, &mut made).await;
        if let Err(error) = outcome {
            return Err(incomplete(error, &made));
        }
        let members = self.members.iter().zip(&made);
        Ok(Restored {
            made: members
                .map(|(member, volume)| {
                    let mut details = parameters(&member.new);
                    details["AttachedTo"] = json!(self.instance.as_ref().map(|i| &i.id));
                    details["Device"] = json!(member.device);
                    Made { id: volume.id.clone(), of: member.document.volume.id.clone(), details }
                })
                .collect(),
            warnings: self.notes.clone(),
            shows: None,
        })
    }

    async fn make(&mut self, of: &EbsSnapshots, run: &RunId, shutdown: &Shutdown, made: &mut Vec<Volume>) -> Result<()> {
        of.progress.stage("volumes", Some(self.members.iter().map(|m| u64::from(m.new.size_gib) * GIB).sum()));
        for member in &mut self.members {
            member.new.tags.insert(tags::RESTORED_BY.to_owned(), run.to_string());
            member.new.token = format!("{run}-{}", member.document.volume.id).chars().take(64).collect();
            made.push(shutdown.guard(self.ebs.create_volume(&member.new)).await?);
        }
        let ids: Vec<String> = made.iter().map(|v| v.id.clone()).collect();
        let available = |v: &Volume| v.state == "available";
        *made = self.wait(of, &ids, shutdown, available).await?;
        let Some(instance) = self.instance.as_ref().map(|i| i.id.clone()) else { return Ok(()) };
        for (member, id) in self.members.iter().zip(&ids) {
            if let Some(device) = &member.device {
                shutdown.guard(self.ebs.attach(id, &instance, device)).await?;
            }
        }
        let attached = |v: &Volume| v.attachments.iter().any(|a| a.instance == instance && a.state == "attached");
        *made = self.wait(of, &ids, shutdown, attached).await?;
        Ok(())
    }

    /// Waits until all of these volumes are as they should be, and gives them in the order of `ids`.
    async fn wait(
        &mut self,
        of: &EbsSnapshots,
        ids: &[String],
        shutdown: &Shutdown,
        ready: impl Fn(&Volume) -> bool,
    ) -> Result<Vec<Volume>> {
        let mut patience = Patience::new(&of.clock);
        let mut done: BTreeSet<String> = BTreeSet::new();
        loop {
            let look = match shutdown.guard(self.ebs.volumes(Which::Ids(ids))).await {
                Err(error) if error.kind() == crate::base::Kind::NotFound && patience.may_be_invisible() => Ok(Vec::new()),
                look => look,
            };
            if let Some(seen) = patience.seen(look, &mut self.ebs).await? {
                if let Some(bad) = seen.iter().find(|v| v.state == "error") {
                    return Err(Error::unavailable(format!("volume {} failed", bad.id))
                        .hint("often the KMS key of the snapshot may not be used by this role; the failed volume can be deleted by hand"));
                }
                for volume in seen.iter().filter(|v| ready(v)) {
                    if done.insert(volume.id.clone()) {
                        of.progress.advance(u64::from(volume.size_gib) * GIB);
                    }
                }
                if seen.len() == ids.len() && seen.iter().all(&ready) {
                    return Ok(ids.iter().filter_map(|id| seen.iter().find(|v| v.id == *id).cloned()).collect());
                }
            }
            shutdown.guard(patience.pause()).await?;
        }
    }

    async fn unarchive(&mut self, of: &EbsSnapshots, shutdown: &Shutdown) -> Result<()> {
        let ids: Vec<String> = self.members.iter().filter(|m| m.snapshot.archived).map(|m| m.snapshot.id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        of.progress.stage("bring back from the archive tier", None);
        for id in &ids {
            match shutdown.guard(self.ebs.unarchive(id, UNARCHIVE_DAYS)).await {
                // Somebody asked for it before: the wait is the same.
                Err(error) if error.kind() == crate::base::Kind::Conflict => {
                    tracing::info!(%error, "the snapshot is on its way from the archive tier");
                }
                done => done?,
            }
        }
        let mut patience = Patience::new(&of.clock);
        loop {
            let look = shutdown.guard(self.ebs.snapshots_by_id(&ids)).await;
            if let Some(seen) = patience.seen(look, &mut self.ebs).await? {
                if seen.len() == ids.len() && seen.iter().all(|s| !s.archived) {
                    return Ok(());
                }
                if patience.elapsed() > UNARCHIVE_LONGEST {
                    let hint = format!(
                        "`aws ec2 describe-snapshot-tier-status --filters Name=snapshot-id,Values={}` says why",
                        ids.join(",")
                    );
                    return Err(
                        Error::unavailable("AWS did not bring the snapshots back from the archive tier in four days").hint(hint)
                    );
                }
                // The watchdog must not take days of AWS's work for a standstill.
                of.progress.note("AWS brings the snapshots back from the archive tier");
            }
            shutdown.guard(patience.pause()).await?;
        }
    }
}

/// About how long AWS needs to make so many volumes, in seconds, whatever their size.
pub(in crate::jobs) fn seconds(count: u64) -> u64 {
    MAKE_SECONDS + 2 * count
}

/// Ids of the snapshots in `region`, in the order of `volumes`: originals, or copies as (region, original, copy).
fn ids_in(region: &str, volumes: &[VolumeDocument], copies: &[(&str, &str, &str)]) -> Result<Vec<String>> {
    volumes
        .iter()
        .map(|document| {
            if document.region == region {
                return Ok(document.snapshot.clone());
            }
            let copy = copies.iter().find(|(there, original, _)| *there == region && *original == document.snapshot);
            copy.map(|(.., id)| (*id).to_owned()).ok_or_else(|| {
                let mut regions: BTreeSet<&str> = copies.iter().map(|(there, ..)| *there).collect();
                regions.insert(&document.region);
                let there: Vec<&str> = regions.into_iter().collect();
                Error::not_found(format!("the backup has no snapshots in {region}"))
                    .hint(format!("it has them in {}; copies are made by source.copy_to", there.join(", ")))
            })
        })
        .collect()
}

/// The device that a volume had, if it is free, else the next free one of those that EC2 recommends.
fn free_device(before: Option<&str>, used: &BTreeSet<String>) -> Option<String> {
    // EC2 takes /dev/sdf and /dev/xvdf for the same place.
    let letter = |device: &str| device.trim_start_matches("/dev/").trim_start_matches("xvd").trim_start_matches("sd").to_owned();
    let taken: BTreeSet<String> = used.iter().map(|d| letter(d)).collect();
    if let Some(before) = before.filter(|b| !taken.contains(&letter(b))) {
        return Some(before.to_owned());
    }
    LETTERS.map(|c| format!("/dev/sd{c}")).find(|device| !taken.contains(&letter(device)))
}

fn parameters(new: &NewVolume) -> serde_json::Value {
    let mut parameters = json!({
        "SnapshotId": new.snapshot,
        "AvailabilityZone": new.zone,
        "Size": new.size_gib,
        "VolumeType": new.volume_type,
    });
    if let Some(iops) = new.iops {
        parameters["Iops"] = json!(iops);
    }
    if let Some(throughput) = new.throughput {
        parameters["Throughput"] = json!(throughput);
    }
    if new.multi_attach {
        parameters["MultiAttachEnabled"] = json!(true);
    }
    parameters
}

/// Says what is there already: nothing is deleted, so nobody may overlook it.
fn incomplete(error: Error, made: &[Volume]) -> Error {
    if made.is_empty() {
        return error;
    }
    let ids: Vec<&str> = made.iter().map(|v| v.id.as_str()).collect();
    error.context(format!("the restore is not complete; volumes {} were made and stay", ids.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_free_or_the_next_one_that_is() {
        let used: BTreeSet<String> = ["/dev/sda1", "/dev/xvdf", "/dev/sdg"].map(str::to_owned).into();
        assert_eq!(free_device(Some("/dev/sdh"), &used).as_deref(), Some("/dev/sdh"));
        assert_eq!(free_device(Some("/dev/sdf"), &used).as_deref(), Some("/dev/sdh"));
        assert_eq!(free_device(None, &used).as_deref(), Some("/dev/sdh"));
        let all = LETTERS.map(|c| format!("/dev/sd{c}")).collect();
        assert_eq!(free_device(Some("/dev/sdf"), &all), None);
    }
}
