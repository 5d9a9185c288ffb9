//! What a restore will do, as calls by AWS's names, and how long that takes.

use serde_json::{Map, Value, json};

use super::earlier::Left;
use crate::cloud::rds::Unit;
use crate::cloud::rds::restore::Origin;
use crate::cloud::rds::settings::{ClusterSettings, Settings};
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
    "ManageMasterUserPassword",
    "MasterUserSecretKmsKeyId",
];
/// The same of a cluster.
const MODIFIED_CLUSTER: &[&str] = &[
    "EnableHttpEndpoint",
    "ManageMasterUserPassword",
    "MasterUserSecretKmsKeyId",
    "PreferredMaintenanceWindow",
    "AutoMinorVersionUpgrade",
    "CACertificateIdentifier",
    "DatabaseInsightsMode",
];
/// What a Multi-AZ DB cluster is restored with, and one of Aurora set to.
const INSIGHTS: &[&str] = &["EnablePerformanceInsights", "PerformanceInsightsKMSKeyId", "PerformanceInsightsRetentionPeriod"];
/// What an instance of a cluster is made with; the rest is the cluster's.
const MEMBER: &[&str] = &[
    "DBInstanceClass",
    "AvailabilityZone",
    "DBParameterGroupName",
    "PromotionTier",
    "PubliclyAccessible",
    "AutoMinorVersionUpgrade",
    "PreferredMaintenanceWindow",
    "MonitoringInterval",
    "MonitoringRoleArn",
    "EnablePerformanceInsights",
    "PerformanceInsightsKMSKeyId",
    "PerformanceInsightsRetentionPeriod",
    "CACertificateIdentifier",
];
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

fn call(operation: &str, of: &str, parameters: Map<String, Value>) -> PlannedCall {
    PlannedCall { operation: operation.to_owned(), of: of.to_owned(), parameters: Value::Object(parameters) }
}

/// The calls, by AWS's names, in their order; what an earlier restore left is not asked for again.
pub(super) fn calls(origin: &Origin, settings: &Settings, left: &Left) -> Vec<PlannedCall> {
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
            let mut all = Vec::new();
            if !left.has(&s.identifier) {
                all.push(call(operation, &of, named(name, &s.identifier, from.into_iter().chain(first))));
            }
            if s.needs_modify() {
                all.push(call("ModifyDBInstance", &s.identifier, named("DBInstanceIdentifier", &s.identifier, later)));
            }
            all
        }
        Settings::Cluster(c, members) => {
            let operation = if in_time { "RestoreDBClusterToPointInTime" } else { "RestoreDBClusterFromSnapshot" };
            let (first, later) = cluster_parameters(c);
            let mut all = Vec::new();
            if !left.has(&c.identifier) {
                let given = from.into_iter().chain(first);
                all.push(call(operation, &of, named("DBClusterIdentifier", &c.identifier, given)));
            }
            all.extend(members.iter().filter(|m| !left.has(&m.identifier)).map(|m| {
                let (mut given, _) = parameters(&json!(m), &[]);
                given.retain(|(key, value)| MEMBER.contains(&key.as_str()) && (key == "PubliclyAccessible" || !off(value)));
                given.extend(
                    [("DBClusterIdentifier", &c.identifier), ("Engine", &m.engine)].map(|(k, v)| (k.to_owned(), json!(v))),
                );
                call("CreateDBInstance", &m.identifier, named("DBInstanceIdentifier", &m.identifier, given))
            }));
            if c.needs_modify() {
                all.push(call("ModifyDBCluster", &c.identifier, named("DBClusterIdentifier", &c.identifier, later)));
            }
            if c.needs_http_endpoint() {
                all.push(call("EnableHttpEndpoint", &c.identifier, named("ResourceArn", "that of the new cluster", [])));
            }
            all
        }
    }
}

/// The same as [`parameters`] of a cluster.
fn cluster_parameters(c: &ClusterSettings) -> (Parameters, Parameters) {
    let (mut first, mut later) = parameters(&json!(c), MODIFIED_CLUSTER);
    let is_insight = |(key, value): &&(String, Value)| INSIGHTS.contains(&key.as_str()) && !off(value);
    if c.database_insights_mode.is_some() {
        later.extend(first.iter().filter(is_insight).cloned());
    }
    first.retain(|(key, _)| c.is_multi_az() || !INSIGHTS.contains(&key.as_str()));
    later.retain(|(key, _)| key != "EnableHttpEndpoint" || !c.needs_http_endpoint());
    (first, later)
}

fn named(key: &str, name: &str, parameters: impl IntoIterator<Item = (String, Value)>) -> Map<String, Value> {
    [(key.to_owned(), Value::from(name))].into_iter().chain(parameters).collect()
}

fn origin_parameters(origin: &Origin, unit: Unit) -> (String, Map<String, Value>) {
    let (of, at, latest, resource) = match origin {
        Origin::Snapshot(id) => {
            let key = if unit == Unit::Instance { "DBSnapshotIdentifier" } else { "SnapshotIdentifier" };
            return (id.clone(), named(key, id, []));
        }
        Origin::Time { of, at, latest, resource } => (of, at, latest, resource),
    };
    let (by_name, by_resource, time) = match unit {
        Unit::Instance => ("SourceDBInstanceIdentifier", "SourceDbiResourceId", "RestoreTime"),
        Unit::Cluster => ("SourceDBClusterIdentifier", "SourceDbClusterResourceId", "RestoreToTime"),
    };
    let (key, source) = resource.as_ref().map_or((by_name, of), |id| (by_resource, id));
    let when = if *latest { ("UseLatestRestorableTime".to_owned(), json!(true)) } else { (time.to_owned(), json!(at)) };
    (of.clone(), named(key, source, [when]))
}

/// By AWS's names.
type Parameters = Vec<(String, Value)>;

fn off(value: &Value) -> bool {
    *value == Value::Bool(false)
}

/// What the restore takes, and what only a modification of what was restored does.
fn parameters(settings: &Value, modified: &[&str]) -> (Parameters, Parameters) {
    let empty = |v: &Value| v.is_null() || v.as_array().is_some_and(Vec::is_empty);
    // Insights mean nothing without Performance Insights, which then are not asked for.
    let no_insights = off(&settings["EnablePerformanceInsights"]);
    let all = settings.as_object().cloned().unwrap_or_default();
    let given = all.into_iter().filter(|(key, value)| !empty(value) && !DESCRIPTIVE.contains(&key.as_str()));
    let (first, mut later): (Parameters, Parameters) = given.partition(|(key, _)| !modified.contains(&key.as_str()));
    later
        .retain(|(key, value)| !(off(value) && key != "AutoMinorVersionUpgrade" || no_insights && key == "DatabaseInsightsMode"));
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
