//! Snapshots of EBS volumes.

use super::{Grants, keys, partition};
use crate::cloud::ssm::SHELL_SCRIPT;
use crate::cloud::tags;
use crate::policy::Policy;
use crate::policy::model::{EbsSource, Freeze, Quiesce, QuiesceOn, Volumes};

/// Locks may be others', and then say why a snapshot cannot be deleted.
const READ: &[&str] = &["ec2:DescribeInstances", "ec2:DescribeLockedSnapshots", "ec2:DescribeSnapshots", "ec2:DescribeVolumes"];

pub(super) fn grant(policy: &Policy, source: &EbsSource, grants: &mut Grants) {
    let name = tags::value(policy.name.as_str());
    let copies: Vec<&str> = source.copy_to.iter().map(String::as_str).collect();
    let regions: Vec<&str> = [source.region.as_str()].into_iter().chain(copies.iter().copied()).collect();
    let owned = |region: &str, what: &str| format!("arn:{}:ec2:{region}:*:{what}", partition(region));
    // Snapshots belong to no account in their ARN.
    let snapshots = |regions: &[&str]| -> Vec<String> {
        regions.iter().map(|region| format!("arn:{}:ec2:{region}::snapshot/*", partition(region))).collect()
    };
    let (request, resource) = (format!("aws:RequestTag/{}", tags::POLICY), format!("aws:ResourceTag/{}", tags::POLICY));
    let instance = match &source.volumes {
        Volumes::OfInstance { id, .. } => format!("instance/{id}"),
        Volumes::Ids(_) | Volumes::Tagged(_) | Volumes::OfDataDirectory(_) => "instance/*".to_owned(),
    };
    let volumes: Vec<String> = match &source.volumes {
        Volumes::Ids(ids) => ids.iter().map(|id| format!("volume/{id}")).collect(),
        _ => vec!["volume/*".to_owned()],
    };
    let taking: &[&str] = match &source.volumes {
        Volumes::OfInstance { .. } => &["ec2:CreateSnapshots"],
        _ => &["ec2:CreateSnapshots", "ec2:CreateSnapshot"],
    };

    grants.allow("EbsRead", READ, ["*".to_owned()]);
    let originals = volumes.iter().chain([&instance]).map(|what| owned(&source.region, what));
    grants.allow("EbsSnapshotOf", taking, originals);
    grants.allow("EbsSnapshot", taking, snapshots(&regions[..1])).when("StringEquals", &request, name.as_str());
    if !copies.is_empty() {
        grants.allow("EbsCopy", &["ec2:CopySnapshot"], snapshots(&regions));
    }
    let made = regions.iter().map(|region| owned(region, "volume/*"));
    let tagged = grants.allow("EbsTags", &["ec2:CreateTags"], snapshots(&regions).into_iter().chain(made));
    for action in ["CopySnapshot", "CreateSnapshot", "CreateSnapshots", "CreateVolume"] {
        tagged.when("StringEquals", "ec2:CreateAction", action);
    }
    grants.allow("EbsDelete", &["ec2:DeleteSnapshot"], snapshots(&regions)).when("StringEquals", &resource, name.as_str());
    let restored = regions
        .iter()
        .flat_map(|region| [owned(region, "volume/*"), format!("arn:{}:ec2:{region}::snapshot/*", partition(region))]);
    grants.allow("EbsRestore", &["ec2:CreateVolume"], restored);
    let attached = regions.iter().flat_map(|region| [owned(region, "volume/*"), owned(region, "instance/*")]);
    grants.allow("EbsAttach", &["ec2:AttachVolume"], attached);
    if source.lock.is_some() || source.archive {
        let mut keeping = Vec::new();
        keeping.extend(source.lock.map(|_| "ec2:LockSnapshot"));
        keeping.extend(source.archive.then_some(["ec2:ModifySnapshotTier", "ec2:RestoreSnapshotTier"]).into_iter().flatten());
        grants.allow("EbsKeep", &keeping, snapshots(&regions)).when("StringEquals", &resource, name.as_str());
    }
    if let Some(quiesce) = source.quiesce.as_ref().filter(|q| q.on == QuiesceOn::Instance) {
        let documents = documents(&source.region, quiesce);
        grants.allow("EbsQuiesce", &["ssm:SendCommand"], documents.into_iter().chain([owned(&source.region, &instance)]));
        // AWS knows no resources for these two.
        grants.allow("EbsQuiesceFollow", &["ssm:ListCommandInvocations", "ssm:CancelCommand"], ["*".to_owned()]);
    }
    keys(grants, "EbsKeys", "ec2", &regions);
}

/// ARNs of the documents of Systems Manager that are run: Amazon's own belong to no account.
fn documents(region: &str, quiesce: &Quiesce) -> Vec<String> {
    let arn = |account: &str, name: &str| format!("arn:{}:ssm:{region}:{account}:document/{name}", partition(region));
    let document = match &quiesce.freeze {
        Freeze::Document(freeze) => Some(freeze.document.as_str()),
        Freeze::Command(_) => None,
    };
    let shell = (document.is_none() || quiesce.thaw.is_some()).then(|| arn("", SHELL_SCRIPT));
    let own = document.map(|name| match name {
        _ if name.starts_with("arn:") => name.to_owned(),
        _ if name.starts_with("AWS") => arn("", name),
        _ => arn("*", name),
    });
    shell.into_iter().chain(own).collect()
}
