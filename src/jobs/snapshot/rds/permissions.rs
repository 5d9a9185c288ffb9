//! What `doctor` finds out about the rights to use RDS, which has no dry run: reading is tried, writing can only be named.

use super::Permission;
use crate::base::Result;
use crate::cloud::rds::{Rds, Unit};
use crate::policy::model::{RdsSource, RdsTarget};

/// Calls what changes nothing.
pub(super) async fn ask(source: Option<&RdsSource>) -> Vec<Permission> {
    let Some(source) = source else { return Vec::new() };
    let rds = match Rds::connect(&source.region).await {
        Ok(rds) => rds,
        Err(error) => return vec![needed("rds:DescribeDBSnapshots", Err(error))],
    };
    let (unit, id) = match &source.target {
        RdsTarget::Instance(id) => (Unit::Instance, id),
        RdsTarget::Cluster(id) => (Unit::Cluster, id),
    };
    let (describe, window, writes): (_, _, &[&'static str]) = match unit {
        Unit::Instance => ("rds:DescribeDBInstances", "rds:DescribeDBInstanceAutomatedBackups", &INSTANCE_WRITES),
        Unit::Cluster => ("rds:DescribeDBClusters", "rds:DescribeDBClusterAutomatedBackups", &CLUSTER_WRITES),
    };
    let mut asked = vec![
        needed(describe, rds.find(unit, id).await.map(drop)),
        needed("rds:DescribeDBSnapshots", rds.manual_snapshots().await.map(drop)),
        optional("rds:DescribeAccountAttributes", rds.quota(unit).await.map(drop)),
        optional(window, rds.window(unit, id).await.map(drop)),
    ];
    for region in &source.copy_to {
        let listed = match Rds::connect(region).await {
            Ok(rds) => rds.manual_snapshots().await.map(drop),
            Err(error) => Err(error),
        };
        asked.push(needed("rds:DescribeDBSnapshots", listed));
    }
    asked.extend(writes.iter().map(|action| Permission { action, outcome: None, needed: true }));
    asked
}

const INSTANCE_WRITES: [&str; 7] = [
    "rds:CreateDBSnapshot",
    "rds:CopyDBSnapshot",
    "rds:DeleteDBSnapshot",
    "rds:AddTagsToResource",
    "rds:RestoreDBInstanceFromDBSnapshot",
    "rds:RestoreDBInstanceToPointInTime",
    "rds:ModifyDBInstance",
];
const CLUSTER_WRITES: [&str; 9] = [
    "rds:CreateDBClusterSnapshot",
    "rds:CopyDBClusterSnapshot",
    "rds:DeleteDBClusterSnapshot",
    "rds:AddTagsToResource",
    "rds:RestoreDBClusterFromSnapshot",
    "rds:RestoreDBClusterToPointInTime",
    "rds:CreateDBInstance",
    "rds:ModifyDBCluster",
    "rds:EnableHttpEndpoint",
];

fn needed(action: &'static str, outcome: Result<()>) -> Permission {
    Permission { action, outcome: Some(outcome), needed: true }
}

fn optional(action: &'static str, outcome: Result<()>) -> Permission {
    Permission { action, outcome: Some(outcome), needed: false }
}
