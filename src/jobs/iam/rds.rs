//! Snapshots of RDS.

use super::{Grants, keys, partition};
use crate::cloud::tags::{self, RESTORED_FROM};
use crate::policy::Policy;
use crate::policy::model::{RdsSource, RdsTarget};

/// The actions for an instance, or for a cluster.
struct Actions {
    read: &'static [&'static str],
    create: &'static [&'static str],
    copy: &'static [&'static str],
    delete: &'static [&'static str],
    restore: &'static [&'static str],
    modify: &'static [&'static str],
    /// Types of resources: the original, its snapshots, what a restore names.
    original: &'static str,
    snapshot: &'static str,
    named: &'static [&'static str],
}

const INSTANCE: Actions = Actions {
    read: &["rds:DescribeDBInstances", "rds:DescribeDBInstanceAutomatedBackups"],
    create: &["rds:CreateDBSnapshot"],
    copy: &["rds:CopyDBSnapshot"],
    delete: &["rds:DeleteDBSnapshot"],
    restore: &["rds:RestoreDBInstanceFromDBSnapshot", "rds:RestoreDBInstanceToPointInTime"],
    modify: &["rds:ModifyDBInstance"],
    original: "db",
    snapshot: "snapshot",
    named: &["db:*", "snapshot:pgkeep-*", "auto-backup:*", "subgrp:*", "pg:*", "og:*"],
};
const CLUSTER: Actions = Actions {
    read: &["rds:DescribeDBClusters", "rds:DescribeDBInstances", "rds:DescribeDBClusterAutomatedBackups"],
    create: &["rds:CreateDBClusterSnapshot"],
    copy: &["rds:CopyDBClusterSnapshot"],
    delete: &["rds:DeleteDBClusterSnapshot"],
    restore: &["rds:RestoreDBClusterFromSnapshot", "rds:RestoreDBClusterToPointInTime", "rds:CreateDBInstance"],
    modify: &["rds:ModifyDBCluster", "rds:EnableHttpEndpoint"],
    original: "cluster",
    snapshot: "cluster-snapshot",
    named: &[
        "cluster:*",
        "db:*",
        "cluster-snapshot:pgkeep-*",
        "cluster-auto-backup:*",
        "subgrp:*",
        "cluster-pg:*",
        "pg:*",
        "og:*",
    ],
};
/// Of both kinds, whatever the policy names now: it may have named the other before.
const READ: &[&str] = &["rds:DescribeAccountAttributes", "rds:DescribeDBSnapshots", "rds:DescribeDBClusterSnapshots"];

pub(super) fn grant(policy: &Policy, source: &RdsSource, grants: &mut Grants) {
    let (actions, id) = match &source.target {
        RdsTarget::Instance(id) => (INSTANCE, id),
        RdsTarget::Cluster(id) => (CLUSTER, id),
    };
    let name = tags::value(policy.name.as_str());
    let copies: Vec<&str> = source.copy_to.iter().map(String::as_str).collect();
    let regions: Vec<&str> = [source.region.as_str()].into_iter().chain(copies.iter().copied()).collect();
    let arn = |region: &str, what: &str| format!("arn:{}:rds:{region}:*:{what}", partition(region));
    let snapshots = |regions: &[&str]| -> Vec<String> {
        regions.iter().map(|region| arn(region, &format!("{}:pgkeep-*", actions.snapshot))).collect()
    };
    let (request, resource) = (format!("aws:RequestTag/{}", tags::POLICY), format!("aws:ResourceTag/{}", tags::POLICY));
    let from = format!("aws:RequestTag/{RESTORED_FROM}");

    grants.allow("RdsRead", READ, ["*".to_owned()]);
    grants.allow("RdsRead", actions.read, []);
    let original = arn(&source.region, &format!("{}:{id}", actions.original));
    let taken = grants.allow("RdsSnapshot", actions.create, [original]);
    taken.resources.extend(snapshots(&regions[..1]));
    taken.when("StringEquals", &request, name.as_str());
    let tagged = grants.allow("RdsSnapshotTags", &["rds:AddTagsToResource"], snapshots(&regions));
    tagged.when("StringEquals", &request, name.as_str());
    if !copies.is_empty() {
        grants.allow("RdsCopy", actions.copy, snapshots(&regions));
    }
    grants.allow("RdsDelete", actions.delete, snapshots(&regions)).when("StringEquals", &resource, name.as_str());
    let named = |region: &&str| actions.named.iter().map(|what| arn(region, what)).collect::<Vec<_>>();
    let restored = grants.allow("RdsRestore", actions.restore, regions.iter().flat_map(named));
    restored.actions.insert("rds:AddTagsToResource");
    restored.when("Null", &from, "false");
    let made = regions.iter().flat_map(|region| ["db:*", "cluster:*"].map(|what| arn(region, what)));
    let made: Vec<String> = made.filter(|arn| arn.contains(&format!(":{}:*", actions.original))).collect();
    grants.allow("RdsRestoreSettings", actions.modify, made).when("Null", &format!("aws:ResourceTag/{RESTORED_FROM}"), "false");
    // A role for Enhanced Monitoring is handed over only to what monitors; a new secret for the master password is RDS's own, named rds!….
    let partition = partition(&source.region);
    let role = grants.allow("RdsMonitoringRole", &["iam:PassRole"], [format!("arn:{partition}:iam::*:role/*")]);
    role.when("StringEquals", "iam:PassedToService", "monitoring.rds.amazonaws.com");
    let secrets = regions.iter().map(|region| format!("arn:{partition}:secretsmanager:{region}:*:secret:rds!*"));
    grants.allow("RdsMasterSecret", &["secretsmanager:CreateSecret", "secretsmanager:TagResource"], secrets);
    keys(grants, "RdsKeys", "rds", &regions);
}
