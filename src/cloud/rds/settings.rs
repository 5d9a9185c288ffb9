//! What an instance or cluster is, so that one can be made as it was. The fields carry the names of AWS's own parameters: a person with the AWS CLI can
//! read them from a backup's contents.

use serde::{Deserialize, Serialize};

use crate::cloud::tags::Tags;

/// A DB instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct InstanceSettings {
    /// Its identifier.
    #[serde(rename = "DBInstanceIdentifier")]
    pub identifier: String,
    /// Immutable id, by which its automated backups are found after it is gone.
    pub dbi_resource_id: Option<String>,
    /// Class, such as `db.r6g.large`.
    #[serde(rename = "DBInstanceClass")]
    pub class: String,
    /// Engine.
    pub engine: String,
    /// Its version.
    pub engine_version: String,
    /// License model.
    pub license_model: Option<String>,
    /// The cluster it belongs to.
    #[serde(rename = "DBClusterIdentifier")]
    pub cluster: Option<String>,
    /// Port.
    pub port: Option<i32>,
    /// Zone; means nothing with a standby.
    pub availability_zone: Option<String>,
    /// Whether it has a standby in another zone.
    #[serde(rename = "MultiAZ")]
    pub multi_az: bool,
    /// Subnet group.
    #[serde(rename = "DBSubnetGroupName")]
    pub subnet_group: Option<String>,
    /// Security groups.
    pub vpc_security_group_ids: Vec<String>,
    /// Whether it has a public address.
    pub publicly_accessible: bool,
    /// `IPV4` or `DUAL`.
    pub network_type: Option<String>,
    /// Parameter group.
    #[serde(rename = "DBParameterGroupName")]
    pub parameter_group: Option<String>,
    /// Option group.
    pub option_group_name: Option<String>,
    /// Size in GiB.
    pub allocated_storage: i32,
    /// Up to which RDS makes it grow, in GiB.
    pub max_allocated_storage: Option<i32>,
    /// Type of storage.
    pub storage_type: Option<String>,
    /// Provisioned operations a second.
    pub iops: Option<i32>,
    /// Provisioned throughput in MiB/s.
    pub storage_throughput: Option<i32>,
    /// Whether the log has a volume of its own.
    pub dedicated_log_volume: Option<bool>,
    /// Whether it is encrypted. A restore keeps that and the key.
    pub storage_encrypted: bool,
    /// The key.
    pub kms_key_id: Option<String>,
    /// Number of cores and threads, where chosen.
    pub processor_features: Vec<(String, String)>,
    /// Whether those of its class are wanted, whatever a snapshot says.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub use_default_processor_features: bool,
    /// Whether RDS installs minor versions.
    pub auto_minor_version_upgrade: Option<bool>,
    /// Whether snapshots get its tags.
    pub copy_tags_to_snapshot: Option<bool>,
    /// Whether it refuses to be deleted.
    pub deletion_protection: bool,
    /// Logins by IAM.
    #[serde(rename = "EnableIAMDatabaseAuthentication")]
    pub iam_authentication: bool,
    /// Logs that go to CloudWatch.
    pub enable_cloudwatch_logs_exports: Vec<String>,
    /// Certificate authority.
    #[serde(rename = "CACertificateIdentifier")]
    pub ca_certificate: Option<String>,
    /// Days for which automated backups are kept.
    pub backup_retention_period: Option<i32>,
    /// When they are made.
    pub preferred_backup_window: Option<String>,
    /// When it is maintained.
    pub preferred_maintenance_window: Option<String>,
    /// `standard` or `advanced`.
    pub database_insights_mode: Option<String>,
    /// Performance Insights.
    pub enable_performance_insights: bool,
    /// Their key.
    #[serde(rename = "PerformanceInsightsKMSKeyId")]
    pub performance_insights_kms_key_id: Option<String>,
    /// Days for which they are kept.
    pub performance_insights_retention_period: Option<i32>,
    /// Seconds between two points of Enhanced Monitoring; 0: none.
    pub monitoring_interval: Option<i32>,
    /// Role for it.
    pub monitoring_role_arn: Option<String>,
    /// Rank among a cluster's instances.
    pub promotion_tier: Option<i32>,
    /// Whether it writes, in a cluster.
    pub is_cluster_writer: bool,
    /// Whether Secrets Manager keeps the master password.
    pub manage_master_user_password: bool,
    /// The key of that secret.
    pub master_user_secret_kms_key_id: Option<String>,
    /// Support after the end of the standard one.
    pub engine_lifecycle_support: Option<String>,
    /// Tags, AWS's own left out.
    pub tags: Tags,
}

/// An Aurora or Multi-AZ DB cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ClusterSettings {
    /// Its identifier.
    #[serde(rename = "DBClusterIdentifier")]
    pub identifier: String,
    /// Immutable id, by which its automated backups are found after it is gone.
    pub db_cluster_resource_id: Option<String>,
    /// Engine.
    pub engine: String,
    /// Its version.
    pub engine_version: String,
    /// `provisioned`, `serverless`, …
    pub engine_mode: Option<String>,
    /// Port.
    pub port: Option<i32>,
    /// Subnet group.
    #[serde(rename = "DBSubnetGroupName")]
    pub subnet_group: Option<String>,
    /// Security groups.
    pub vpc_security_group_ids: Vec<String>,
    /// Whether a Multi-AZ DB cluster has a public address; of Aurora each instance has it.
    pub publicly_accessible: Option<bool>,
    /// `IPV4` or `DUAL`.
    pub network_type: Option<String>,
    /// Parameter group.
    #[serde(rename = "DBClusterParameterGroupName")]
    pub parameter_group: Option<String>,
    /// Type of storage.
    pub storage_type: Option<String>,
    /// Provisioned operations a second, of Multi-AZ DB clusters.
    pub iops: Option<i32>,
    /// Size in GiB.
    pub allocated_storage: i32,
    /// Class, of Multi-AZ DB clusters, which make their instances themselves.
    #[serde(rename = "DBClusterInstanceClass")]
    pub instance_class: Option<String>,
    /// Whether it is encrypted. A restore keeps that and the key.
    pub storage_encrypted: bool,
    /// The key.
    pub kms_key_id: Option<String>,
    /// Least and most capacity of Aurora Serverless v2, and seconds until it pauses.
    pub serverless_v2_scaling_configuration: Option<(f64, f64, Option<i32>)>,
    /// Seconds that it can be wound back.
    pub backtrack_window: Option<i64>,
    /// Whether snapshots get its tags.
    pub copy_tags_to_snapshot: Option<bool>,
    /// Whether it refuses to be deleted.
    pub deletion_protection: bool,
    /// Logins by IAM.
    #[serde(rename = "EnableIAMDatabaseAuthentication")]
    pub iam_authentication: bool,
    /// Logs that go to CloudWatch.
    pub enable_cloudwatch_logs_exports: Vec<String>,
    /// Days for which automated backups are kept.
    pub backup_retention_period: Option<i32>,
    /// When they are made.
    pub preferred_backup_window: Option<String>,
    /// When it is maintained.
    pub preferred_maintenance_window: Option<String>,
    /// Whether RDS installs minor versions.
    pub auto_minor_version_upgrade: Option<bool>,
    /// Certificate authority, of Multi-AZ DB clusters.
    #[serde(rename = "CACertificateIdentifier")]
    pub ca_certificate: Option<String>,
    /// `standard` or `advanced`.
    pub database_insights_mode: Option<String>,
    /// Performance Insights.
    pub enable_performance_insights: bool,
    /// Their key.
    #[serde(rename = "PerformanceInsightsKMSKeyId")]
    pub performance_insights_kms_key_id: Option<String>,
    /// Days for which they are kept.
    pub performance_insights_retention_period: Option<i32>,
    /// Seconds between two points of Enhanced Monitoring; 0: none.
    pub monitoring_interval: Option<i32>,
    /// Role for it.
    pub monitoring_role_arn: Option<String>,
    /// Data API.
    pub enable_http_endpoint: bool,
    /// Whether Secrets Manager keeps the master password.
    pub manage_master_user_password: bool,
    /// The key of that secret.
    pub master_user_secret_kms_key_id: Option<String>,
    /// Support after the end of the standard one.
    pub engine_lifecycle_support: Option<String>,
    /// Tags, AWS's own left out.
    pub tags: Tags,
}

/// What was there when a snapshot was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Settings {
    /// An instance.
    Instance(Box<InstanceSettings>),
    /// A cluster and its instances, the writer first.
    Cluster(Box<ClusterSettings>, Vec<InstanceSettings>),
}

impl Settings {
    /// Its identifier.
    pub fn identifier(&self) -> &str {
        match self {
            Self::Instance(instance) => &instance.identifier,
            Self::Cluster(cluster, _) => &cluster.identifier,
        }
    }

    /// Its immutable id, where it is known.
    pub fn resource_id(&self) -> Option<&str> {
        match self {
            Self::Instance(instance) => instance.dbi_resource_id.as_deref(),
            Self::Cluster(cluster, _) => cluster.db_cluster_resource_id.as_deref(),
        }
    }

    /// Version of its engine.
    pub fn engine_version(&self) -> &str {
        match self {
            Self::Instance(instance) => &instance.engine_version,
            Self::Cluster(cluster, _) => &cluster.engine_version,
        }
    }

    /// Size in bytes; 0 where it is not known.
    pub fn bytes(&self) -> u64 {
        let gib = match self {
            Self::Instance(instance) => instance.allocated_storage,
            Self::Cluster(cluster, _) => cluster.allocated_storage,
        };
        self.plausible(u64::try_from(gib).unwrap_or_default() << 30)
    }

    /// The size that RDS reports, in bytes; 0 where it is none: of Aurora RDS may report 1 GiB, whatever there is.
    pub fn plausible(&self, bytes: u64) -> u64 {
        match self {
            Self::Cluster(cluster, _) if cluster.is_aurora() && bytes <= 1 << 30 => 0,
            _ => bytes,
        }
    }
}
