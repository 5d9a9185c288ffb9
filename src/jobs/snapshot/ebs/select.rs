//! Which volumes are in a backup, grouped as AWS can take them at one instant: instance by instance.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::base::threads::blocking;
use crate::base::{Error, Result};
use crate::cloud::device::{self, Under};
use crate::cloud::ebs::Ebs;
use crate::cloud::ebs::volumes::{Instance, Volume, Which};
use crate::cloud::tags;
use crate::policy::model::{EbsSource, Volumes};

/// Volumes that one call leaves out at most: `ExcludeDataVolumeIds`,
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceSpecification.html>.
const EXCLUDED: usize = 40;

/// The volumes of a backup.
#[derive(Debug, Clone)]
pub(super) struct Selection {
    /// Those of each instance.
    pub(super) groups: Vec<Group>,
    /// Those that are attached to none.
    pub(super) loose: Vec<Volume>,
    /// What a person should know.
    pub(super) warnings: Vec<String>,
}

/// Volumes of one instance, taken by one call.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// The instance.
    pub(super) instance: Instance,
    /// Its volumes that are wanted.
    pub(super) volumes: Vec<Volume>,
    /// Whether its root volume is not.
    pub(super) exclude_root: bool,
    /// Other volumes of it that are not.
    pub(super) excluded: Vec<String>,
}

impl Selection {
    /// All volumes.
    pub(super) fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.groups.iter().flat_map(|g| &g.volumes).chain(&self.loose)
    }

    /// Whether one call takes them all.
    pub(super) fn is_consistent(&self) -> bool {
        self.groups.len() + self.loose.len() == 1
    }

    /// What they are, for people.
    pub(super) fn describe(&self) -> String {
        match (self.groups.as_slice(), self.loose.as_slice()) {
            ([group], []) => match &group.instance.name {
                Some(name) => format!("{} ({name})", group.instance.id),
                None => group.instance.id.clone(),
            },
            ([], [one]) => one.id.clone(),
            _ => format!("{} volumes", self.volumes().count()),
        }
    }
}

/// Asks AWS which volumes `source` names at this moment.
pub(super) async fn select(ebs: &Ebs, source: &EbsSource) -> Result<Selection> {
    let mut warnings = Vec::new();
    let volumes = match &source.volumes {
        Volumes::OfInstance { id, exclude_root, devices } => of_instance(ebs, id, *exclude_root, devices).await?,
        Volumes::Ids(ids) => ebs.volumes(Which::Ids(ids)).await?,
        Volumes::Tagged(tags) => tagged(ebs, tags, &mut warnings).await?,
        Volumes::OfDataDirectory(path) => of_directory(ebs, path, &mut warnings).await?,
    };
    if let Some(volume) = volumes.iter().find(|v| !["available", "in-use"].contains(&v.state.as_str())) {
        return Err(Error::conflict(format!(
            "volume {} is in state '{}': no snapshot of it can be taken",
            volume.id, volume.state
        )));
    }
    let mut selection = group(ebs, volumes).await?;
    if !selection.is_consistent() {
        let calls = selection.groups.len() + selection.loose.len();
        warnings.push(format!(
            "the snapshots do not show one instant: AWS takes the volumes of one instance together, and these take {calls} calls"
        ));
    }
    selection.warnings = warnings;
    Ok(selection)
}

async fn of_instance(ebs: &Ebs, id: &str, exclude_root: bool, devices: &[String]) -> Result<Vec<Volume>> {
    let instance = ebs.instance(id).await?;
    let mut volumes = ebs.volumes(Which::OfInstance(id)).await?;
    let at = |volume: &Volume| device_at(volume, id).unwrap_or_default();
    if let Some(lost) = devices.iter().find(|d| volumes.iter().all(|v| at(v) != **d)) {
        let there: Vec<String> = volumes.iter().map(at).collect();
        return Err(Error::not_found(format!("{id} has no volume at {lost}")).hint(format!("it has {}", there.join(", "))));
    }
    volumes.retain(|v| devices.is_empty() || devices.contains(&at(v)));
    volumes.retain(|v| !exclude_root || Some(at(v)) != instance.root_device);
    if volumes.is_empty() {
        return Err(Error::not_found(format!("{id} has no volume that is wanted"))
            .hint("only its root volume is attached, or none; compare exclude_root and devices"));
    }
    Ok(volumes)
}

async fn tagged(ebs: &Ebs, tags: &[(String, String)], warnings: &mut Vec<String>) -> Result<Vec<Volume>> {
    let mut volumes = ebs.volumes(Which::Tagged(tags)).await?;
    // A restore gives new volumes the tags of the old ones; until they are put to use they are no sources.
    let spare = |v: &Volume| v.attachments.is_empty() && v.tags.contains_key(tags::RESTORED_FROM);
    let spared: Vec<&str> = volumes.iter().filter(|v| spare(v)).map(|v| v.id.as_str()).collect();
    if !spared.is_empty() {
        warnings.push(format!("left out, since a restore made them and nothing uses them: {}", spared.join(", ")));
    }
    volumes.retain(|v| !spare(v));
    if volumes.is_empty() {
        let wanted: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        return Err(Error::not_found(format!("no volume in {} carries the tags {}", ebs.region(), wanted.join(", "))));
    }
    Ok(volumes)
}

async fn of_directory(ebs: &Ebs, path: &Path, warnings: &mut Vec<String>) -> Result<Vec<Volume>> {
    let directory = path.to_owned();
    let found = blocking(move || device::under(&directory)).await?;
    let mut ids = BTreeSet::new();
    if let Some(first) = found.unread.first() {
        warnings.push(format!(
            "{} may not be read: whether a data directory keeps WAL or tablespaces on other volumes is not known; name those in the policy",
            first.display()
        ));
    }
    for one in found.under {
        match one {
            Under::Volume(id) => ids.insert(id),
            Under::Device(name) => ids.insert(attached_at(&ebs.instance(&device::own_instance().await?).await?, &name)?),
        };
    }
    let ids: Vec<String> = ids.into_iter().collect();
    ebs.volumes(Which::Ids(&ids)).await
}

/// The volume that Xen shows as `name`: attached at `/dev/xvdf`, or at `/dev/sdf`.
fn attached_at(instance: &Instance, name: &str) -> Result<String> {
    let letters = name.trim_start_matches("xvd").trim_start_matches("sd");
    let names = [format!("/dev/xvd{letters}"), format!("/dev/sd{letters}"), format!("xvd{letters}")];
    // The root is attached at /dev/sda1 and shown as xvda.
    let root = [format!("/dev/sd{letters}1"), format!("/dev/xvd{letters}1")];
    let found =
        |names: &[String]| instance.devices.iter().find(|(device, _)| names.contains(device)).map(|(_, volume)| volume.clone());
    found(&names).or_else(|| found(&root)).ok_or_else(|| {
        Error::not_found(format!("no volume is attached to {} at a device that this machine calls {name}", instance.id))
    })
}

pub(super) fn device_at(volume: &Volume, instance: &str) -> Option<String> {
    volume.attachments.iter().find(|a| a.instance == instance).map(|a| a.device.clone())
}

async fn group(ebs: &Ebs, volumes: Vec<Volume>) -> Result<Selection> {
    let (mut by_instance, mut loose) = (BTreeMap::<String, Vec<Volume>>::new(), Vec::new());
    for volume in volumes {
        match volume.attachments.first() {
            Some(attachment) => by_instance.entry(attachment.instance.clone()).or_default().push(volume),
            None => loose.push(volume),
        }
    }
    let mut groups = Vec::with_capacity(by_instance.len());
    for (id, mut volumes) in by_instance {
        let instance = ebs.instance(&id).await?;
        let root = instance.root_device.clone();
        for attachment in volumes.iter_mut().flat_map(|v| &mut v.attachments).filter(|a| a.instance == id) {
            attachment.root = Some(&attachment.device) == root.as_ref();
        }
        let unwanted = |volume: &&(String, String)| volumes.iter().all(|v| v.id != volume.1);
        let (roots, others): (Vec<_>, Vec<_>) =
            instance.devices.iter().filter(unwanted).partition(|(device, _)| Some(device) == root.as_ref());
        let excluded: Vec<String> = others.into_iter().map(|(_, volume)| volume.clone()).collect();
        let exclude_root = !roots.is_empty();
        if excluded.len() > EXCLUDED {
            return Err(Error::policy(format!(
                "{} volumes of {id} are not wanted, and AWS leaves out at most {EXCLUDED} of an instance's",
                excluded.len()
            ))
            .hint("choose more of its volumes"));
        }
        groups.push(Group { instance, volumes, exclude_root, excluded });
    }
    Ok(Selection { groups, loose, warnings: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xen_renames_devices() {
        let instance = Instance {
            id: "i-1".to_owned(),
            name: None,
            zone: "eu-west-1a".to_owned(),
            state: "running".to_owned(),
            root_device: Some("/dev/sda1".to_owned()),
            devices: [("/dev/sda1", "vol-root"), ("/dev/sdf", "vol-f"), ("/dev/xvdg", "vol-g")]
                .map(|(d, v)| (d.to_owned(), v.to_owned()))
                .to_vec(),
        };
        for (shown, volume) in [("xvda", "vol-root"), ("xvdf", "vol-f"), ("xvdg", "vol-g"), ("sdf", "vol-f")] {
            assert_eq!(attached_at(&instance, shown).expect(shown), volume);
        }
        assert!(attached_at(&instance, "xvdz").is_err());
    }
}
