//! Volumes and instances: described, made, attached. Nothing is ever detached or deleted.

use aws_sdk_ec2::types::{self, Filter, ResourceType, VolumeState};
use serde::{Deserialize, Serialize};

use super::{Ebs, FILTER_VALUES, PAGE, dry, failed, filter, missing, read_tags, size, specification, tagged};
use crate::base::{Error, Result};
use crate::cloud::aws;
use crate::cloud::tags::Tags;

/// A volume: all that is needed to make it again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// `vol-…`.
    pub id: String,
    /// Availability zone.
    pub zone: String,
    /// Size in GiB.
    pub size_gib: u32,
    /// `gp3`, `io2`, ….
    pub volume_type: String,
    /// Operations a second: provisioned, or of gp2 what its size gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    /// MiB a second, of gp3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<u32>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// With which key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// Whether several instances may attach it.
    #[serde(default)]
    pub multi_attach: bool,
    /// Where it is attached.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// Its tags.
    #[serde(default)]
    pub tags: Tags,
    /// `available`, `in-use`, `creating`, `error`, …: not kept, since it changes.
    #[serde(skip)]
    pub state: String,
}

/// Where a volume is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// `i-…`.
    pub instance: String,
    /// As EC2 names it: `/dev/sdf`.
    pub device: String,
    /// Whether it is the instance's root.
    #[serde(default)]
    pub root: bool,
    /// Whether the volume goes with the instance.
    pub delete_on_termination: bool,
    /// `attaching`, `attached`, …: not kept.
    #[serde(skip)]
    pub state: String,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// Its `Name` tag.
    pub name: Option<String>,
    /// Availability zone.
    pub zone: String,
    /// `running`, `stopped`, ….
    pub state: String,
    /// Device of the root volume.
    pub root_device: Option<String>,
    /// Its volumes by device.
    pub devices: Vec<(String, String)>,
}

/// A volume to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// Availability zone.
    pub zone: String,
    /// What it is made of.
    pub snapshot: String,
    /// Size in GiB.
    pub size_gib: u32,
    /// Type.
    pub volume_type: String,
    /// Operations a second, for types that take them.
    pub iops: Option<u32>,
    /// MiB a second, for types that take them.
    pub throughput: Option<u32>,
    /// Whether several instances may attach it.
    pub multi_attach: bool,
    /// Its tags.
    pub tags: Tags,
    /// AWS answers a repeated request of the same token with the same volume.
    pub token: String,
}

/// Which volumes.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// Those attached to an instance.
    OfInstance(&'a str),
    /// Those with these ids; one that is not there is an error.
    Ids(&'a [String]),
    /// Those with all of these tags.
    Tagged(&'a [(String, String)]),
}

fn number(n: Option<i32>) -> Option<u32> {
    n.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0)
}

impl TryFrom<types::Volume> for Volume {
    type Error = Error;

    fn try_from(v: types::Volume) -> Result<Self> {
        let attachments = v.attachments.unwrap_or_default().into_iter().map(|a| Attachment {
            instance: a.instance_id.unwrap_or_default(),
            device: a.device.unwrap_or_default(),
            root: false,
            delete_on_termination: a.delete_on_termination.unwrap_or(false),
            state: a.state.map(|s| s.as_str().to_owned()).unwrap_or_default(),
        });
        Ok(Self {
            zone: v.availability_zone.unwrap_or_default(),
            size_gib: size(v.size),
            volume_type: v.volume_type.map(|t| t.as_str().to_owned()).unwrap_or_default(),
            iops: number(v.iops),
            throughput: number(v.throughput),
            encrypted: v.encrypted.unwrap_or(false),
            kms_key_id: v.kms_key_id.filter(|key| !key.is_empty()),
            multi_attach: v.multi_attach_enabled.unwrap_or(false),
            attachments: attachments.collect(),
            tags: read_tags(v.tags),
            state: v.state.as_ref().map(VolumeState::as_str).unwrap_or_default().to_owned(),
            id: v.volume_id.ok_or_else(|| missing("the id of a volume"))?,
        })
    }
}

impl Ebs {
    /// Describes volumes, in order of id.
    pub async fn volumes(&self, which: Which<'_>) -> Result<Vec<Volume>> {
        let mut found = match which {
            Which::OfInstance(instance) => self.filtered(vec![filter("attachment.instance-id", [instance])]).await?,
            Which::Tagged(tags) => self.filtered(tags.iter().map(|(key, value)| tagged(key, value)).collect()).await?,
            Which::Ids(ids) => {
                let mut all = Vec::with_capacity(ids.len());
                for some in ids.chunks(FILTER_VALUES) {
                    all.extend(self.filtered(vec![filter("volume-id", some.iter().cloned())]).await?);
                }
                if let Some(lost) = ids.iter().find(|id| all.iter().all(|v| v.id != **id)) {
                    return Err(Error::not_found(format!("there is no volume {lost} in {}", self.region))
                        .hint("compare the id and the region with the policy's"));
                }
                all
            }
        };
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    async fn filtered(&self, filters: Vec<Filter>) -> Result<Vec<Volume>> {
        let request = self.client.describe_volumes().set_filters(Some(filters)).max_results(PAGE);
        let found: Result<Vec<types::Volume>, _> = request.into_paginator().items().send().collect().await;
        let found = found.map_err(|e| failed(&format!("list volumes in {}", self.region), "ec2:DescribeVolumes", e))?;
        found.into_iter().map(Volume::try_from).collect()
    }

    /// Describes an instance; an error of kind `NotFound` when there is none.
    pub async fn instance(&self, id: &str) -> Result<Instance> {
        let what = format!("describe instance {id}");
        let answer = self.client.describe_instances().instance_ids(id).send().await;
        let answer = answer.map_err(|e| failed(&what, "ec2:DescribeInstances", e))?;
        let instance = answer.reservations.unwrap_or_default().into_iter().flat_map(|r| r.instances.unwrap_or_default()).next();
        let instance = instance.ok_or_else(|| Error::not_found(format!("there is no instance {id} in {}", self.region)))?;
        let devices = instance.block_device_mappings.unwrap_or_default().into_iter();
        Ok(Instance {
            id: id.to_owned(),
            name: read_tags(instance.tags).remove("Name"),
            zone: instance.placement.and_then(|p| p.availability_zone).unwrap_or_default(),
            state: instance.state.and_then(|s| s.name).map(|s| s.as_str().to_owned()).unwrap_or_default(),
            root_device: instance.root_device_name,
            devices: devices.filter_map(|d| Some((d.device_name?, d.ebs?.volume_id?))).collect(),
        })
    }

    /// Makes a volume of a snapshot, or finds the one that was made with the same token.
    pub async fn create_volume(&self, new: &NewVolume) -> Result<Volume> {
        let request = self
            .client
            .create_volume()
            .availability_zone(&new.zone)
            .snapshot_id(&new.snapshot)
            .size(new.size_gib as i32)
            .volume_type(types::VolumeType::from(new.volume_type.as_str()))
            .set_iops(new.iops.map(|n| n as i32))
            .set_throughput(new.throughput.map(|n| n as i32))
            .set_multi_attach_enabled(new.multi_attach.then_some(true))
            .tag_specifications(specification(ResourceType::Volume, &new.tags))
            .client_token(&new.token);
        let what = format!("make a volume of {} in {}", new.snapshot, new.zone);
        let made = request.send().await.map_err(|e| failed(&what, "ec2:CreateVolume and ec2:CreateTags", e))?;
        Ok(Volume {
            id: made.volume_id.ok_or_else(|| missing("the id of a volume"))?,
            zone: made.availability_zone.unwrap_or_default(),
            size_gib: size(made.size),
            volume_type: made.volume_type.map(|t| t.as_str().to_owned()).unwrap_or_default(),
            iops: number(made.iops),
            throughput: number(made.throughput),
            encrypted: made.encrypted.unwrap_or(false),
            kms_key_id: made.kms_key_id,
            state: made.state.as_ref().map(VolumeState::as_str).unwrap_or_default().to_owned(),
            ..Volume::default()
        })
    }

    /// Attaches an available volume. One that is attached so already is fine: the SDK repeats a call whose answer was lost, and AWS knows no token for it.
    pub async fn attach(&self, volume: &str, instance: &str, device: &str) -> Result<()> {
        let request = self.client.attach_volume().volume_id(volume).instance_id(instance).device(device);
        let what = format!("attach {volume} to {instance} at {device}");
        let Err(error) = request.send().await.map(drop).map_err(|e| failed(&what, "ec2:AttachVolume", e)) else { return Ok(()) };
        if aws::code(&error) != Some("VolumeInUse") {
            return Err(error);
        }
        let seen = self.volumes(Which::Ids(&[volume.to_owned()])).await?;
        let wanted = |a: &Attachment| a.instance == instance && a.device == device;
        if seen.iter().flat_map(|v| &v.attachments).any(wanted) { Ok(()) } else { Err(error) }
    }

    /// Asks whether volumes of a snapshot may be made, and attached to an instance.
    pub async fn may_restore(
        &self,
        zone: &str,
        snapshot: &str,
        volume: &str,
        instance: Option<&str>,
    ) -> Vec<(&'static str, Option<Result<()>>)> {
        let make = self.client.create_volume().availability_zone(zone).snapshot_id(snapshot).dry_run(true).send();
        let mut verdicts = vec![dry("ec2:CreateVolume", make.await)];
        if let Some(instance) = instance {
            let request = self.client.attach_volume().volume_id(volume).instance_id(instance).device("/dev/sdp");
            verdicts.push(dry("ec2:AttachVolume", request.dry_run(true).send().await));
        }
        verdicts
    }
}
