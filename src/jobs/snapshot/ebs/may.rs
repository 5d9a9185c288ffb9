//! Which of AWS's permissions are there, as far as `DryRun` tells.

use std::collections::BTreeSet;

use super::select::select;
use crate::base::Result;
use crate::cloud::ebs::Ebs;
use crate::cloud::tags::{self, Tags};
use crate::jobs::snapshot::Permission;
use crate::policy::model::{EbsSource, QuiesceOn};

type Verdict = (&'static str, Option<Result<()>>);

/// Asks for each permission. Without a snapshot of ours that a question could be about, AWS does not tell what needs one.
pub(super) async fn permissions(source: &EbsSource) -> Vec<Permission> {
    let ebs = match Ebs::connect(&source.region).await {
        Ok(ebs) => ebs,
        Err(error) => return vec![Permission { action: "sts:GetCallerIdentity", outcome: Some(Err(error)), needed: true }],
    };
    let mut verdicts: Vec<Verdict> = Vec::new();
    let selection = select(&ebs, source).await;
    let ours = ebs.find_snapshots(&Tags::new()).await;
    let snapshot = ours.as_ref().ok().and_then(|s| s.iter().find(|s| s.tags.contains_key(tags::POLICY))).map(|s| s.id.clone());
    verdicts.push(("ec2:DescribeSnapshots", Some(ours.map(drop))));
    if source.quiesce.as_ref().is_some_and(|q| q.on == QuiesceOn::Instance) {
        verdicts.push(("ssm:SendCommand", None));
    }
    let mut tags = Tags::new();
    tags.insert(tags::POLICY.to_owned(), "doctor".to_owned());
    if let Ok(selection) = &selection {
        verdicts.push(("ec2:DescribeInstances", Some(Ok(()))));
        verdicts.push(("ec2:DescribeVolumes", Some(Ok(()))));
        let instance = selection.groups.first().map(|g| g.instance.id.as_str());
        let loose = selection.loose.first().map(|v| v.id.as_str());
        verdicts.extend(ebs.may_take(instance, loose, &tags).await);
        if let (Some(volume), Some(snapshot)) = (selection.volumes().next(), &snapshot) {
            verdicts.extend(ebs.may_restore(&volume.zone, snapshot, &volume.id, instance).await);
        }
    }
    match &snapshot {
        Some(snapshot) => {
            verdicts.extend(ebs.may_keep(snapshot).await);
            for region in &source.copy_to {
                match Ebs::connect(region).await {
                    Ok(there) => verdicts.push(there.may_copy(&source.region, snapshot, &tags).await),
                    Err(error) => verdicts.push(("ec2:CopySnapshot", Some(Err(error)))),
                }
            }
        }
        None => verdicts.extend(unknown(source)),
    }
    verdicts.into_iter().map(|(action, outcome)| Permission { needed: is_needed(action, source), action, outcome }).collect()
}

fn unknown(source: &EbsSource) -> Vec<Verdict> {
    let mut actions = BTreeSet::from(["ec2:DeleteSnapshot", "ec2:CreateVolume", "ec2:AttachVolume"]);
    actions.extend(source.lock.map(|_| "ec2:LockSnapshot"));
    actions.extend(source.archive.then_some("ec2:ModifySnapshotTier"));
    actions.extend((!source.copy_to.is_empty()).then_some("ec2:CopySnapshot"));
    actions.into_iter().map(|action| (action, None)).collect()
}

fn is_needed(action: &str, source: &EbsSource) -> bool {
    match action {
        "ec2:LockSnapshot" => source.lock.is_some(),
        "ec2:ModifySnapshotTier" => source.archive,
        // A restore may be made by another role.
        "ec2:CreateVolume" | "ec2:AttachVolume" => false,
        _ => true,
    }
}
