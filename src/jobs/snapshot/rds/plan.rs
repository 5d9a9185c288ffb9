//! What a restore will do, as calls by AWS's names, and how long that takes.

use serde_json::{Map, Value, json};

use crate::cloud::rds::Unit;
use crate::cloud::rds::restore::Origin;
use crate::cloud::rds::settings::Settings;
use crate::jobs::snapshot::restore::PlannedCall;

/// Seconds until an instance of a snapshot answers, however large: RDS reads its storage as it is used.
const INSTANCE_SECONDS: u64 = 15 * 60;
const STANDBY_SECONDS: u64 = 10 * 60;
const CLUSTER_SECONDS: u64 = 10 * 60;
const MEMBER_SECONDS: u64 = 10 * 60;
const MODIFY_SECONDS: u64 = 5 * 60;
/// The log that is replayed, of automated backups.
const REPLAY_SECONDS: u64 = 15 * 60;

/// Settings that RDS takes only of an instance that exists.
const MODIFIED: &[&str] = &[
    "DatabaseInsightsMode",
    "MaxAllocatedStorage",
    "MonitoringInterval",
    "MonitoringRoleArn",
    "EnablePerformanceInsights",
    "PerformanceInsightsKMSKeyId",
    "PerformanceInsightsRetentionPeriod",
    "PreferredMaintenanceWindow",
];
/// The same of a cluster.
const MODIFIED_CLUSTER: &[&str] = &["EnableHttpEndpoint", "ManageMasterUserPassword", "PreferredMaintenanceWindow"];
/// What a description has and no call takes.
const DESCRIPTIVE: &[&str] = &[
    "DBInstanceIdentifier",
    "DBClusterIdentifier",
    "DbiResourceId",
    "DbClusterResourceId",
    "IsClusterWriter",
    "Tags",
    "AllocatedStorage",
    "StorageEncrypted",
    "KmsKeyId",
    "Engine",
    "EngineVersion",
];

/// The calls, by AWS's names, in their order.
pub(super) fn calls(origin: &Origin, settings: &Settings) -> Vec<PlannedCall> {
    let call = |operation: &str, of: &str, parameters: Map<String, Value>| PlannedCall {
        operation: operation.to_owned(),
        of: of.to_owned(),
        parameters: Value::Object(parameters),
    };
    let unit = match settings {
        Settings::Instance(_) => Unit::Instance,
        Settings::Cluster(..) => Unit::Cluster,
    };
    let (of, from) = origin_parameters(origin, unit);
    let in_time = matches!(origin, Origin::Time { .. });
    match settings {
        Settings::Instance(s) => {
            let operation = if in_time { "RestoreDBInstanceToPointInTime" } else { "RestoreDBInstanceFromDBSnapshot" };
            let (first, later) = parameters(&json!(s), MODIFIED);
            let name = if in_time { "TargetDBInstanceIdentifier" } else { "DBInstanceIdentifier" };
            let mut all = vec![call(operation, &of, named(name, &s.identifier, from.into_iter().chain(first)))];
            if s.needs_modify() {
                all.push(call("ModifyDBInstance", &s.identifier, named("DBInstanceIdentifier", &s.identifier, later)));
            }
            all
        }
        Settings::Cluster(c, members) => {
            let operation = if in_time { "RestoreDBClusterToPointInTime" } else { "RestoreDBClusterFromSnapshot" };
            let (first, later) = parameters(&json!(c), MODIFIED_CLUSTER);
            let mut all = vec![call(operation, &of, named("DBClusterIdentifier", &c.identifier, from.into_iter().chain(first)))];
            if c.needs_modify() {
                all.push(call("ModifyDBCluster", &c.identifier, named("DBClusterIdentifier", &c.identifier, later)));
            }
            all.extend(members.iter().map(|m| {
                let given = json!({
                    "DBClusterIdentifier": c.identifier, "DBInstanceClass": m.class, "Engine": m.engine,
                    "PromotionTier": m.promotion_tier, "AvailabilityZone": m.availability_zone,
                    "DBParameterGroupName": m.parameter_group, "PubliclyAccessible": m.publicly_accessible,
                });
                let given = given.as_object().cloned().unwrap_or_default().into_iter().filter(|(_, v)| !v.is_null());
                call("CreateDBInstance", &m.identifier, named("DBInstanceIdentifier", &m.identifier, given))
            }));
            all
        }
    }
}

fn named(key: &str, name: &str, parameters: impl IntoIterator<Item = (String, Value)>) -> Map<String, Value> {
    [(key.to_owned(), Value::from(name))].into_iter().chain(parameters).collect()
}

fn origin_parameters(origin: &Origin, unit: Unit) -> (String, Map<String, Value>) {
    let (of, parameters) = match (origin, unit) {
        (Origin::Snapshot(id), Unit::Instance) => (id, json!({ "DBSnapshotIdentifier": id })),
        (Origin::Snapshot(id), Unit::Cluster) => (id, json!({ "SnapshotIdentifier": id })),
        (Origin::Time { of, gone: Some(id), at }, Unit::Instance) => {
            (of, json!({ "SourceDbiResourceId": id, "RestoreTime": at }))
        }
        (Origin::Time { of, gone: None, at }, Unit::Instance) => {
            (of, json!({ "SourceDBInstanceIdentifier": of, "RestoreTime": at }))
        }
        (Origin::Time { of, gone: Some(id), at }, Unit::Cluster) => {
            (of, json!({ "SourceDbClusterResourceId": id, "RestoreToTime": at }))
        }
        (Origin::Time { of, gone: None, at }, Unit::Cluster) => {
            (of, json!({ "SourceDBClusterIdentifier": of, "RestoreToTime": at }))
        }
    };
    (of.clone(), parameters.as_object().cloned().unwrap_or_default())
}

/// By AWS's names.
type Parameters = Vec<(String, Value)>;

/// What the restore takes, and what only a modification of what was restored does.
fn parameters(settings: &Value, modified: &[&str]) -> (Parameters, Parameters) {
    let off = |v: &Value| *v == Value::Bool(false);
    let empty = |v: &Value| v.is_null() || v.as_array().is_some_and(Vec::is_empty);
    // Insights mean nothing without Performance Insights, which then are not asked for.
    let no_insights = off(&settings["EnablePerformanceInsights"]);
    let all = settings.as_object().cloned().unwrap_or_default();
    let given = all.into_iter().filter(|(key, value)| !empty(value) && !DESCRIPTIVE.contains(&key.as_str()));
    let (first, mut later): (Parameters, Parameters) = given.partition(|(key, _)| !modified.contains(&key.as_str()));
    later.retain(|(key, value)| !(off(value) || no_insights && key == "DatabaseInsightsMode"));
    (first, later)
}

/// What most restores take, in seconds, where the settings were not read.
pub(in crate::jobs) const USUAL_SECONDS: u64 = INSTANCE_SECONDS + MODIFY_SECONDS;

pub(super) fn estimate(origin: &Origin, settings: &Settings) -> (u64, String) {
    let replay = if matches!(origin, Origin::Time { .. }) { REPLAY_SECONDS } else { 0 };
    let seconds = match settings {
        Settings::Instance(s) => {
            INSTANCE_SECONDS + if s.multi_az { STANDBY_SECONDS } else { 0 } + if s.needs_modify() { MODIFY_SECONDS } else { 0 }
        }
        Settings::Cluster(_, members) => CLUSTER_SECONDS + if members.is_empty() { 0 } else { MEMBER_SECONDS },
    };
    let text = "a guess: AWS promises none. Storage is read from S3 as it is first used, so that queries are slow for a while after; \
                replay of the log for a point in time takes longer the more was written since the last automated backup";
    (seconds + replay, text.to_owned())
}
