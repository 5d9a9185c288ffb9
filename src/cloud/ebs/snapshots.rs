//! Snapshots: taken as a set, found by their tags, copied, locked, archived, deleted.

use aws_sdk_ec2::types::{self, InstanceSpecification, ResourceType};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use super::{Ebs, FILTER_VALUES, PAGE, dry, failed, filter, missing, read_tags, size, specification, tagged, timestamp};
use crate::base::{Error, Kind, Result};
use crate::cloud::presign::Copy;
use crate::cloud::tags::Tags;
use crate::cloud::{aws, presign, tags};

/// Deletions that are sent at once: AWS throttles accounts, not callers.
const DELETIONS: usize = 4;

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// `snap-…`.
    pub id: String,
    /// The account that it is in.
    pub account: Option<String>,
    /// The volume; of copies in other regions AWS tells a made-up one.
    pub volume: String,
    /// Size of the volume, in GiB.
    pub size_gib: u32,
    /// How far it is.
    pub state: State,
    /// Why it failed, if AWS says.
    pub message: Option<String>,
    /// In per cent.
    pub progress: u8,
    /// When it was asked for: the instant that it shows.
    pub started_at: Option<Timestamp>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// With which key.
    pub kms_key_id: Option<String>,
    /// Whether it lies in the archive tier.
    pub archived: bool,
    /// Its tags.
    pub tags: Tags,
}

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Blocks are being copied. It shows the instant of its start already.
    Pending,
    /// Volumes can be made of it.
    Completed,
    /// It will never be completed.
    Error,
    /// It was deleted and lies in the Recycle Bin, or is on its way back.
    Recycled,
}

impl State {
    fn of(state: Option<&types::SnapshotState>) -> Self {
        match state {
            Some(types::SnapshotState::Completed) => Self::Completed,
            Some(types::SnapshotState::Error) => Self::Error,
            Some(types::SnapshotState::Recoverable | types::SnapshotState::Recovering) => Self::Recycled,
            // CreateSnapshots may leave the state out of its answer.
            _ => Self::Pending,
        }
    }
}

fn percent(progress: Option<&str>) -> u8 {
    progress.and_then(|text| text.trim_end_matches('%').parse().ok()).unwrap_or(0).min(100)
}

impl TryFrom<types::Snapshot> for Snapshot {
    type Error = Error;

    fn try_from(s: types::Snapshot) -> Result<Self> {
        Ok(Self {
            state: State::of(s.state.as_ref()),
            progress: percent(s.progress.as_deref()),
            size_gib: size(s.volume_size),
            started_at: timestamp(s.start_time.as_ref()),
            message: s.state_message.filter(|m| !m.is_empty()),
            encrypted: s.encrypted.unwrap_or(false),
            kms_key_id: s.kms_key_id,
            archived: s.storage_tier == Some(types::StorageTier::Archive),
            tags: read_tags(s.tags),
            account: s.owner_id,
            volume: s.volume_id.unwrap_or_default(),
            id: s.snapshot_id.ok_or_else(|| missing("the id of a snapshot"))?,
        })
    }
}

impl TryFrom<types::SnapshotInfo> for Snapshot {
    type Error = Error;

    fn try_from(s: types::SnapshotInfo) -> Result<Self> {
        Ok(Self {
            state: State::of(s.state.as_ref()),
            progress: percent(s.progress.as_deref()),
            size_gib: size(s.volume_size),
            started_at: timestamp(s.start_time.as_ref()),
            message: None,
            encrypted: s.encrypted.unwrap_or(false),
            kms_key_id: None,
            archived: false,
            tags: read_tags(s.tags),
            account: s.owner_id,
            volume: s.volume_id.unwrap_or_default(),
            id: s.snapshot_id.ok_or_else(|| missing("the id of a snapshot"))?,
        })
    }
}

/// What became of a snapshot that was to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Now,
    /// It was gone.
    Before,
    /// It is in use or locked: why.
    Held(String),
}

impl Ebs {
    /// Takes snapshots of the volumes of `instance`, all at one instant, without its root volume if `exclude_root` and without `excluded`. The answer does
    /// not tell whether a request whose answer was lost was carried out: look for its tags before sending it again.
    pub async fn create_set(
        &self,
        instance: &str,
        exclude_root: bool,
        excluded: &[String],
        description: &str,
        tags: &Tags,
    ) -> Result<Vec<Snapshot>> {
        let volumes = InstanceSpecification::builder()
            .instance_id(instance)
            .exclude_boot_volume(exclude_root)
            .set_exclude_data_volume_ids((!excluded.is_empty()).then(|| excluded.to_vec()));
        let request = self
            .once
            .create_snapshots()
            .instance_specification(volumes.build())
            .description(description)
            .tag_specifications(specification(ResourceType::Snapshot, tags));
        let what = format!("take snapshots of the volumes of {instance}");
        let answer = request.send().await.map_err(|e| failed(&what, "ec2:CreateSnapshots and ec2:CreateTags", e))?;
        answer.snapshots.unwrap_or_default().into_iter().map(Snapshot::try_from).collect()
    }

    /// Takes a snapshot of one volume; for repetitions see [`Ebs::create_set`].
    pub async fn create_one(&self, volume: &str, description: &str, tags: &Tags) -> Result<Snapshot> {
        let request = self
            .once
            .create_snapshot()
            .volume_id(volume)
            .description(description)
            .tag_specifications(specification(ResourceType::Snapshot, tags));
        let what = format!("take a snapshot of {volume}");
        let answer = request.send().await.map_err(|e| failed(&what, "ec2:CreateSnapshot and ec2:CreateTags", e))?;
        Ok(Snapshot {
            id: answer.snapshot_id.ok_or_else(|| missing("the id of a snapshot"))?,
            account: answer.owner_id,
            volume: volume.to_owned(),
            size_gib: size(answer.volume_size),
            state: State::of(answer.state.as_ref()),
            message: None,
            progress: percent(answer.progress.as_deref()),
            started_at: timestamp(answer.start_time.as_ref()),
            encrypted: answer.encrypted.unwrap_or(false),
            kms_key_id: answer.kms_key_id,
            archived: false,
            tags: tags.clone(),
        })
    }

    /// The account's snapshots that carry all of these tags, in order of id.
    pub async fn find_snapshots(&self, wanted: &Tags) -> Result<Vec<Snapshot>> {
        self.snapshots(wanted.iter().map(|(key, value)| tagged(key, value)).collect()).await
    }

    /// Those of the account's snapshots with these ids that are there.
    pub async fn snapshots_by_id(&self, ids: &[String]) -> Result<Vec<Snapshot>> {
        let mut all = Vec::with_capacity(ids.len());
        for some in ids.chunks(FILTER_VALUES) {
            all.extend(self.snapshots(vec![filter("snapshot-id", some.iter().cloned())]).await?);
        }
        Ok(all)
    }

    async fn snapshots(&self, filters: Vec<types::Filter>) -> Result<Vec<Snapshot>> {
        let request = self.client.describe_snapshots().owner_ids("self").set_filters(Some(filters)).max_results(PAGE);
        let found: Result<Vec<types::Snapshot>, _> = request.into_paginator().items().send().collect().await;
        let found = found.map_err(|e| failed(&format!("list snapshots in {}", self.region), "ec2:DescribeSnapshots", e))?;
        let mut found = found.into_iter().map(Snapshot::try_from).collect::<Result<Vec<_>>>()?;
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Copies a completed snapshot of another region into this one, with `key` of this region if given; for repetitions see [`Ebs::create_set`]. Returns
    /// the id of the copy.
    pub async fn copy(
        &self,
        from: &str,
        original: &Snapshot,
        key: Option<&str>,
        description: &str,
        tags: &Tags,
    ) -> Result<String> {
        let mut request = self
            .once
            .copy_snapshot()
            .source_region(from)
            .source_snapshot_id(&original.id)
            .description(description)
            .tag_specifications(specification(ResourceType::Snapshot, tags));
        if let Some(key) = key {
            request = request.encrypted(true).kms_key_id(key);
        }
        if original.encrypted {
            let copy = Copy { from, to: &self.region, snapshot: &original.id, encrypted: key.map(|_| true), key };
            request = request.destination_region(&self.region).presigned_url(presign::copy_snapshot(&copy).await?);
        }
        let what = format!("copy {} from {from} to {}", original.id, self.region);
        let answer = request.send().await.map_err(|e| failed(&what, "ec2:CopySnapshot and ec2:CreateTags", e))?;
        answer.snapshot_id.ok_or_else(|| missing("the id of a copy"))
    }

    /// Deletes a snapshot.
    pub async fn delete_snapshot(&self, id: &str) -> Result<Deleted> {
        match self.client.delete_snapshot().snapshot_id(id).send().await {
            Ok(_) => Ok(Deleted::Now),
            Err(error) => {
                let error = failed(&format!("delete {id} in {}", self.region), "ec2:DeleteSnapshot", error);
                match error.kind() {
                    Kind::NotFound => Ok(Deleted::Before),
                    Kind::Conflict => Ok(Deleted::Held(error.full_message())),
                    // Whatever AWS calls it: a locked snapshot is one that cannot be deleted yet.
                    Kind::Denied if !aws::is_refused(&error) && self.is_locked(id).await => {
                        Ok(Deleted::Held(format!("{} is locked", error.full_message())))
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Whether AWS says that a snapshot is locked; without the permission to ask, no.
    async fn is_locked(&self, id: &str) -> bool {
        let answer = self.client.describe_locked_snapshots().snapshot_ids(id).send().await;
        answer.is_ok_and(|a| a.snapshots().iter().any(|s| s.snapshot_id() == Some(id)))
    }

    /// Deletes snapshots, and returns what became of each, in their order.
    pub async fn delete_snapshots(&self, ids: &[String]) -> Result<Vec<Deleted>> {
        let delete = |id: String| {
            let this = self.clone();
            async move { this.delete_snapshot(&id).await }
        };
        futures::stream::iter(ids.to_vec()).map(delete).buffered(DELETIONS).try_collect().await
    }

    /// Locks a snapshot.
    pub async fn lock(&self, id: &str, compliance: bool, days: u32, cool_off_hours: Option<u32>) -> Result<()> {
        let mode = if compliance { types::LockMode::Compliance } else { types::LockMode::Governance };
        let request = self.client.lock_snapshot().snapshot_id(id).lock_mode(mode).lock_duration(days as i32);
        let request = request.set_cool_off_period(cool_off_hours.map(|h| h as i32));
        request.send().await.map(drop).map_err(|e| failed(&format!("lock {id}"), "ec2:LockSnapshot", e))
    }

    /// Moves a snapshot to the archive tier. One that is there already is fine.
    pub async fn archive(&self, id: &str) -> Result<()> {
        let request = self.client.modify_snapshot_tier().snapshot_id(id).storage_tier(types::TargetStorageTier::Archive);
        let answer = request.send().await.map(drop).map_err(|e| failed(&format!("archive {id}"), "ec2:ModifySnapshotTier", e));
        let Err(error) = answer else { return Ok(()) };
        // A call whose answer was lost is repeated, and the repetition refused.
        let seen = self.snapshots_by_id(&[id.to_owned()]).await?;
        if seen.iter().any(|s| s.archived) { Ok(()) } else { Err(error) }
    }

    /// Brings a snapshot back from the archive tier for so many days.
    pub async fn unarchive(&self, id: &str, days: u32) -> Result<()> {
        let request = self.client.restore_snapshot_tier().snapshot_id(id).temporary_restore_days(days as i32);
        request
            .send()
            .await
            .map(drop)
            .map_err(|e| failed(&format!("bring {id} back from the archive tier"), "ec2:RestoreSnapshotTier", e))
    }

    /// Asks whether deletions, locks and the archive tier are allowed for a snapshot that is there.
    pub async fn may_keep(&self, id: &str) -> Vec<(&'static str, Option<Result<()>>)> {
        let client = &self.client;
        let delete = client.delete_snapshot().snapshot_id(id).dry_run(true).send();
        let lock =
            client.lock_snapshot().snapshot_id(id).lock_mode(types::LockMode::Governance).lock_duration(1).dry_run(true).send();
        let tier =
            client.modify_snapshot_tier().snapshot_id(id).storage_tier(types::TargetStorageTier::Archive).dry_run(true).send();
        vec![
            dry("ec2:DeleteSnapshot", delete.await),
            dry("ec2:LockSnapshot", lock.await),
            dry("ec2:ModifySnapshotTier", tier.await),
        ]
    }

    /// Asks whether snapshots of this instance and this volume may be taken.
    pub async fn may_take(
        &self,
        instance: Option<&str>,
        volume: Option<&str>,
        tags: &Tags,
    ) -> Vec<(&'static str, Option<Result<()>>)> {
        let mut verdicts = Vec::new();
        let tags = specification(ResourceType::Snapshot, tags);
        if let Some(instance) = instance {
            let volumes = InstanceSpecification::builder().instance_id(instance).build();
            let request = self.once.create_snapshots().instance_specification(volumes).tag_specifications(tags.clone());
            verdicts.push(dry("ec2:CreateSnapshots", request.dry_run(true).send().await));
        }
        if let Some(volume) = volume {
            let request = self.once.create_snapshot().volume_id(volume).tag_specifications(tags);
            verdicts.push(dry("ec2:CreateSnapshot", request.dry_run(true).send().await));
        }
        verdicts
    }

    /// Asks whether a snapshot of another region may be copied here.
    pub async fn may_copy(&self, from: &str, snapshot: &str, tags: &Tags) -> (&'static str, Option<Result<()>>) {
        let request = self.once.copy_snapshot().source_region(from).source_snapshot_id(snapshot);
        let request = request.tag_specifications(specification(ResourceType::Snapshot, tags));
        dry("ec2:CopySnapshot", request.dry_run(true).send().await)
    }
}

/// The name that consoles show.
pub fn named(mut tags: Tags, name: &str) -> Tags {
    tags.insert(tags::NAME.to_owned(), tags::value(name));
    tags
}

/// Whether a failed request may be sent again after it was looked whether AWS carried it out.
pub fn may_repeat(error: &Error) -> bool {
    error.kind() == Kind::Unavailable || aws::is_expired(error)
}
