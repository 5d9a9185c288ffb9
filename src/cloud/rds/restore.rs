//! New instances and clusters, with the settings of old ones. RDS itself refuses a name that is taken: nothing that exists is ever changed, but for the
//! settings that RDS takes only after it has made what a restore asked for.

use aws_sdk_rds::types::{DatabaseInsightsMode, ProcessorFeature, ServerlessV2ScalingConfiguration};
use jiff::Timestamp;

use super::settings::{ClusterSettings, InstanceSettings};
use super::{Rds, Unit, to_aws, to_tags};
use crate::base::Result;
use crate::cloud::aws;
use crate::cloud::tags::Tags;

/// What a new instance or cluster is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A snapshot, by its identifier.
    Snapshot(String),
    /// The automated backups, at an instant.
    Time {
        /// Identifier of the instance or cluster.
        of: String,
        /// Its immutable id, which is asked for in place of the name: a name can be given to another one.
        resource: Option<String>,
        /// The instant, in whole seconds.
        at: Timestamp,
        /// Whether the latest that there is when RDS begins is wanted, which is no earlier.
        latest: bool,
    },
}

/// Below this size RDS takes no numbers for gp3 of PostgreSQL: it gives the baseline, and reports it.
const GP3_BASELINE_GIB: i32 = 400;

impl InstanceSettings {
    /// Without what RDS reports and does not take back, and without the zone, which may be what failed.
    pub fn to_ask(mut self) -> Self {
        let gp2 = self.storage_type.as_deref() == Some("gp2");
        if gp2 || self.storage_type.as_deref() == Some("gp3") && self.allocated_storage < GP3_BASELINE_GIB {
            (self.iops, self.storage_throughput) = (None, None);
        }
        self.availability_zone = None;
        for group in [&mut self.subnet_group, &mut self.parameter_group, &mut self.option_group_name] {
            group.take_if(|name| is_default(name));
        }
        if self.monitoring_interval == Some(0) {
            (self.monitoring_interval, self.monitoring_role_arn) = (None, None);
        }
        self
    }

    /// Whether RDS takes some of the settings only of an instance that exists.
    pub fn needs_modify(&self) -> bool {
        self.max_allocated_storage.is_some()
            || self.monitoring_interval.is_some()
            || self.enable_performance_insights
            || self.preferred_maintenance_window.is_some()
            || self.manage_master_user_password
    }
}

/// Whether a group is AWS's own, which is chosen by itself and need not exist before something uses it: `default`, `default.postgres17`,
/// `default:postgres-17`.
fn is_default(group: &str) -> bool {
    group == "default" || group.starts_with("default.") || group.starts_with("default:")
}

impl ClusterSettings {
    /// Without what RDS reports and does not take back, and what it does by itself.
    pub fn to_ask(mut self) -> Self {
        for group in [&mut self.subnet_group, &mut self.parameter_group] {
            group.take_if(|name| is_default(name));
        }
        if self.monitoring_interval == Some(0) || !self.is_multi_az() {
            (self.monitoring_interval, self.monitoring_role_arn) = (None, None);
        }
        self.database_insights_mode.take_if(|mode| mode != "advanced");
        self.auto_minor_version_upgrade.take_if(|on| *on);
        if !self.is_multi_az() {
            // Each instance of Aurora has its own.
            (self.publicly_accessible, self.ca_certificate, self.auto_minor_version_upgrade) = (None, None, None);
            self.enable_performance_insights &= self.database_insights_mode.is_some();
        }
        if !self.enable_performance_insights {
            (self.performance_insights_kms_key_id, self.performance_insights_retention_period) = (None, None);
        }
        self
    }

    /// Whether it is of Aurora.
    pub fn is_aurora(&self) -> bool {
        self.engine.starts_with("aurora")
    }

    /// Whether it makes its instances itself: a Multi-AZ DB cluster.
    pub fn is_multi_az(&self) -> bool {
        !self.is_aurora() && self.instance_class.is_some()
    }

    /// Whether it is of the first kind of Aurora Serverless, where the Data API is a setting.
    fn is_serverless_v1(&self) -> bool {
        self.engine_mode.as_deref() == Some("serverless")
    }

    /// Whether RDS takes some of the settings only of a cluster that exists.
    pub fn needs_modify(&self) -> bool {
        self.preferred_maintenance_window.is_some()
            || self.enable_http_endpoint && self.is_serverless_v1()
            || self.manage_master_user_password
            || self.database_insights_mode.is_some()
            || self.auto_minor_version_upgrade.is_some()
            || self.ca_certificate.is_some()
    }

    /// Whether the Data API is turned on by an operation of its own.
    pub fn needs_http_endpoint(&self) -> bool {
        self.enable_http_endpoint && !self.is_serverless_v1()
    }
}

/// What RDS takes alike of an instance out of a snapshot and of one at a point in time: two requests of different types.
macro_rules! instance_settings {
    ($call:expr, $s:expr) => {
        $call
            .db_instance_class(&$s.class)
            .set_port($s.port)
            .set_availability_zone($s.availability_zone.clone())
            .set_db_subnet_group_name($s.subnet_group.clone())
            .multi_az($s.multi_az)
            .publicly_accessible($s.publicly_accessible)
            .set_auto_minor_version_upgrade($s.auto_minor_version_upgrade)
            .set_license_model($s.license_model.clone())
            .set_iops($s.iops)
            .set_storage_throughput($s.storage_throughput)
            .set_option_group_name($s.option_group_name.clone())
            .set_tags(Some(to_tags(&$s.tags)))
            .set_storage_type($s.storage_type.clone())
            .set_vpc_security_group_ids(some(&$s.vpc_security_group_ids))
            .set_copy_tags_to_snapshot($s.copy_tags_to_snapshot)
            .enable_iam_database_authentication($s.iam_authentication)
            .set_enable_cloudwatch_logs_exports(some(&$s.enable_cloudwatch_logs_exports))
            .set_processor_features(features($s))
            .set_use_default_processor_features($s.use_default_processor_features.then_some(true))
            .set_db_parameter_group_name($s.parameter_group.clone())
            .deletion_protection($s.deletion_protection)
            .set_network_type($s.network_type.clone())
            .set_backup_retention_period($s.backup_retention_period)
            .set_preferred_backup_window($s.preferred_backup_window.clone())
            .set_dedicated_log_volume($s.dedicated_log_volume)
            .set_ca_certificate_identifier($s.ca_certificate.clone())
            .set_engine_lifecycle_support($s.engine_lifecycle_support.clone())
    };
}

/// The same of a cluster.
macro_rules! cluster_settings {
    ($call:expr, $s:expr) => {
        $call
            .set_engine_mode($s.engine_mode.clone().filter(|m| m != "provisioned"))
            .set_port($s.port)
            .set_db_subnet_group_name($s.subnet_group.clone())
            .set_vpc_security_group_ids(some(&$s.vpc_security_group_ids))
            .set_tags(Some(to_tags(&$s.tags)))
            .enable_iam_database_authentication($s.iam_authentication)
            .set_backtrack_window($s.backtrack_window)
            .set_enable_cloudwatch_logs_exports(some(&$s.enable_cloudwatch_logs_exports))
            .set_db_cluster_parameter_group_name($s.parameter_group.clone())
            .deletion_protection($s.deletion_protection)
            .set_copy_tags_to_snapshot($s.copy_tags_to_snapshot)
            .set_db_cluster_instance_class($s.instance_class.clone())
            .set_storage_type($s.storage_type.clone())
            .set_iops($s.iops)
            .set_publicly_accessible($s.publicly_accessible)
            .set_monitoring_interval($s.monitoring_interval)
            .set_monitoring_role_arn($s.monitoring_role_arn.clone())
            .set_enable_performance_insights(($s.is_multi_az() && $s.enable_performance_insights).then_some(true))
            .set_performance_insights_kms_key_id($s.performance_insights_kms_key_id.clone().filter(|_| $s.is_multi_az()))
            .set_performance_insights_retention_period($s.performance_insights_retention_period.filter(|_| $s.is_multi_az()))
            .set_network_type($s.network_type.clone())
            .set_serverless_v2_scaling_configuration(scaling($s))
            .set_backup_retention_period($s.backup_retention_period)
            .set_preferred_backup_window($s.preferred_backup_window.clone())
            .set_engine_lifecycle_support($s.engine_lifecycle_support.clone())
    };
}

impl Rds {
    /// Asks for the instance `s.identifier`.
    pub async fn restore_instance(&self, origin: &Origin, s: &InstanceSettings) -> Result<()> {
        match origin {
            Origin::Snapshot(id) => self.restore_instance_from_snapshot(id, s).await,
            Origin::Time { of, resource, at, latest } => {
                self.restore_instance_to_time((of, resource.as_deref()), (!latest).then_some(*at), s).await
            }
        }
    }

    async fn restore_instance_from_snapshot(&self, snapshot: &str, s: &InstanceSettings) -> Result<()> {
        let call = self.client.restore_db_instance_from_db_snapshot().db_snapshot_identifier(snapshot);
        let call = instance_settings!(call.db_instance_identifier(&s.identifier), s);
        let what = format!("restore snapshot {snapshot} to {}", s.identifier);
        call.send().await.map(drop).map_err(|e| aws::failure(&what, "rds:RestoreDBInstanceFromDBSnapshot", e))
    }

    /// `of`: name and immutable id; `at`: `None` for the latest.
    async fn restore_instance_to_time(
        &self,
        (of, resource): (&str, Option<&str>),
        at: Option<Timestamp>,
        s: &InstanceSettings,
    ) -> Result<()> {
        let call = self.client.restore_db_instance_to_point_in_time().set_restore_time(at.map(to_aws));
        let call = call.set_use_latest_restorable_time(at.is_none().then_some(true));
        let call = match resource {
            Some(resource) => call.source_dbi_resource_id(resource),
            None => call.source_db_instance_identifier(of),
        };
        let call = instance_settings!(call.target_db_instance_identifier(&s.identifier), s);
        let what = format!("restore {of} at a point in time to {}", s.identifier);
        call.send().await.map(drop).map_err(|e| aws::failure(&what, "rds:RestoreDBInstanceToPointInTime", e))
    }

    /// Asks for the cluster `s.identifier`, without instances.
    pub async fn restore_cluster(&self, origin: &Origin, s: &ClusterSettings) -> Result<()> {
        match origin {
            Origin::Snapshot(id) => self.restore_cluster_from_snapshot(id, s).await,
            Origin::Time { of, resource, at, latest } => {
                self.restore_cluster_to_time((of, resource.as_deref()), (!latest).then_some(*at), s).await
            }
        }
    }

    async fn restore_cluster_from_snapshot(&self, snapshot: &str, s: &ClusterSettings) -> Result<()> {
        let call = self.client.restore_db_cluster_from_snapshot().snapshot_identifier(snapshot);
        let call = call.db_cluster_identifier(&s.identifier).engine(&s.engine).engine_version(&s.engine_version);
        let call = cluster_settings!(call, s);
        let what = format!("restore snapshot {snapshot} to {}", s.identifier);
        call.send().await.map(drop).map_err(|e| aws::failure(&what, "rds:RestoreDBClusterFromSnapshot", e))
    }

    /// The same of a cluster.
    async fn restore_cluster_to_time(
        &self,
        (of, resource): (&str, Option<&str>),
        at: Option<Timestamp>,
        s: &ClusterSettings,
    ) -> Result<()> {
        let call = self.client.restore_db_cluster_to_point_in_time().set_restore_to_time(at.map(to_aws));
        let call = call.set_use_latest_restorable_time(at.is_none().then_some(true));
        let call = match resource {
            Some(resource) => call.source_db_cluster_resource_id(resource),
            None => call.source_db_cluster_identifier(of),
        };
        let call = cluster_settings!(call.db_cluster_identifier(&s.identifier), s);
        let what = format!("restore {of} at a point in time to {}", s.identifier);
        call.send().await.map(drop).map_err(|e| aws::failure(&what, "rds:RestoreDBClusterToPointInTime", e))
    }

    /// Asks for the instance `s.identifier` of the cluster `s.cluster`.
    pub async fn create_member(&self, s: &InstanceSettings) -> Result<()> {
        let call = self.client.create_db_instance().db_instance_identifier(&s.identifier).db_instance_class(&s.class);
        let call = call
            .engine(&s.engine)
            .set_db_cluster_identifier(s.cluster.clone())
            .set_availability_zone(s.availability_zone.clone())
            .set_db_parameter_group_name(s.parameter_group.clone())
            .set_promotion_tier(s.promotion_tier)
            .publicly_accessible(s.publicly_accessible)
            .set_auto_minor_version_upgrade(s.auto_minor_version_upgrade)
            .set_preferred_maintenance_window(s.preferred_maintenance_window.clone())
            .set_monitoring_interval(s.monitoring_interval)
            .set_monitoring_role_arn(s.monitoring_role_arn.clone())
            .set_enable_performance_insights(s.enable_performance_insights.then_some(true))
            .set_performance_insights_kms_key_id(s.performance_insights_kms_key_id.clone())
            .set_performance_insights_retention_period(s.performance_insights_retention_period)
            .set_ca_certificate_identifier(s.ca_certificate.clone())
            .set_tags(Some(to_tags(&s.tags)));
        let what = format!("make DB instance {}", s.identifier);
        call.send().await.map(drop).map_err(|e| aws::failure(&what, "rds:CreateDBInstance", e))
    }

    /// Puts tags on the instance or cluster with this ARN.
    pub async fn tag(&self, arn: &str, tags: &Tags) -> Result<()> {
        let answer = self.client.add_tags_to_resource().resource_name(arn).set_tags(Some(to_tags(tags))).send().await;
        answer.map(drop).map_err(|e| aws::failure(&format!("tag {arn}"), "rds:AddTagsToResource", e))
    }

    /// Sets what a restore cannot: see [`InstanceSettings::needs_modify`].
    pub async fn modify_instance(&self, s: &InstanceSettings) -> Result<()> {
        let mode = s.database_insights_mode.as_deref().map(DatabaseInsightsMode::from);
        let call = self.client.modify_db_instance().db_instance_identifier(&s.identifier).apply_immediately(true);
        let call = call
            .set_max_allocated_storage(s.max_allocated_storage)
            .set_monitoring_interval(s.monitoring_interval)
            .set_monitoring_role_arn(s.monitoring_role_arn.clone())
            .set_enable_performance_insights(s.enable_performance_insights.then_some(true))
            .set_performance_insights_kms_key_id(s.performance_insights_kms_key_id.clone())
            .set_performance_insights_retention_period(s.performance_insights_retention_period)
            .set_database_insights_mode(mode.filter(|_| s.enable_performance_insights))
            .set_manage_master_user_password(s.manage_master_user_password.then_some(true))
            .set_master_user_secret_kms_key_id(s.master_user_secret_kms_key_id.clone())
            .set_preferred_maintenance_window(s.preferred_maintenance_window.clone());
        let what = format!("set what a restore cannot on {}", s.identifier);
        call.send().await.map(drop).map_err(|e| aws::failure(&what, "rds:ModifyDBInstance", e))
    }

    /// Sets what a restore cannot: see [`ClusterSettings::needs_modify`].
    pub async fn modify_cluster(&self, s: &ClusterSettings) -> Result<()> {
        let mode = s.database_insights_mode.as_deref().map(DatabaseInsightsMode::from);
        let insights = mode.is_some() && s.enable_performance_insights;
        let call = self.client.modify_db_cluster().db_cluster_identifier(&s.identifier).apply_immediately(true);
        let call = call
            .set_preferred_maintenance_window(s.preferred_maintenance_window.clone())
            .set_auto_minor_version_upgrade(s.auto_minor_version_upgrade)
            .set_ca_certificate_identifier(s.ca_certificate.clone())
            .set_database_insights_mode(mode.filter(|_| insights))
            .set_enable_performance_insights(insights.then_some(true))
            .set_performance_insights_kms_key_id(s.performance_insights_kms_key_id.clone().filter(|_| insights))
            .set_performance_insights_retention_period(s.performance_insights_retention_period.filter(|_| insights))
            .set_enable_http_endpoint((s.enable_http_endpoint && s.is_serverless_v1()).then_some(true))
            .set_manage_master_user_password(s.manage_master_user_password.then_some(true))
            .set_master_user_secret_kms_key_id(s.master_user_secret_kms_key_id.clone());
        let what = format!("set what a restore cannot on {}", s.identifier);
        call.send().await.map(drop).map_err(|e| aws::failure(&what, "rds:ModifyDBCluster", e))
    }

    /// Turns on the Data API of the cluster `id`: see [`ClusterSettings::needs_http_endpoint`].
    pub async fn enable_http_endpoint(&self, id: &str) -> Result<()> {
        let arn = self.describe(Unit::Cluster, id).await?.arn;
        let answer = self.client.enable_http_endpoint().resource_arn(arn).send().await;
        answer.map(drop).map_err(|e| aws::failure(&format!("turn on the Data API of {id}"), "rds:EnableHttpEndpoint", e))
    }
}

/// `None` for an empty list: AWS takes that for its own default.
fn some(list: &[String]) -> Option<Vec<String>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn features(s: &InstanceSettings) -> Option<Vec<ProcessorFeature>> {
    let all = s.processor_features.iter().map(|(name, value)| ProcessorFeature::builder().name(name).value(value).build());
    (!s.processor_features.is_empty()).then(|| all.collect())
}

fn scaling(s: &ClusterSettings) -> Option<ServerlessV2ScalingConfiguration> {
    let (least, most, pause) = s.serverless_v2_scaling_configuration?;
    let builder = ServerlessV2ScalingConfiguration::builder().min_capacity(least).max_capacity(most);
    Some(builder.set_seconds_until_auto_pause(pause).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rds_reports_and_does_not_take_back_is_left_out() {
        let gp3 = |gib, iops, mib| InstanceSettings {
            storage_type: Some("gp3".to_owned()),
            allocated_storage: gib,
            iops: Some(iops),
            storage_throughput: Some(mib),
            availability_zone: Some("eu-west-1a".to_owned()),
            monitoring_interval: Some(0),
            ..InstanceSettings::default()
        };
        for (iops, mib) in [(3000, 125), (3000, 250)] {
            let small = gp3(100, iops, mib).to_ask();
            assert_eq!((small.iops, small.storage_throughput, small.availability_zone.clone()), (None, None, None));
            assert!(!small.needs_modify());
        }
        assert_eq!(gp3(500, 12000, 500).to_ask().iops, Some(12000));
    }

    #[test]
    fn a_cluster_is_asked_for_what_its_kind_has() {
        let cluster = |engine: &str, class: Option<&str>, mode: &str| ClusterSettings {
            engine: engine.to_owned(),
            instance_class: class.map(str::to_owned),
            publicly_accessible: Some(false),
            monitoring_interval: Some(30),
            database_insights_mode: Some(mode.to_owned()),
            enable_performance_insights: true,
            performance_insights_retention_period: Some(465),
            auto_minor_version_upgrade: Some(true),
            enable_http_endpoint: true,
            ..ClusterSettings::default()
        };
        let multi_az = cluster("postgres", Some("db.m6gd.large"), "standard").to_ask();
        assert_eq!((multi_az.publicly_accessible, multi_az.monitoring_interval), (Some(false), Some(30)));
        assert!(multi_az.enable_performance_insights && !multi_az.needs_modify());
        let aurora = cluster("aurora-postgresql", None, "standard").to_ask();
        assert_eq!((aurora.publicly_accessible, aurora.monitoring_interval), (None, None));
        assert!(!aurora.enable_performance_insights && !aurora.needs_modify() && aurora.needs_http_endpoint());
        let advanced = cluster("aurora-postgresql", None, "advanced").to_ask();
        assert!(advanced.enable_performance_insights && advanced.needs_modify());
        let v1 = ClusterSettings { engine_mode: Some("serverless".to_owned()), ..aurora };
        assert!(v1.needs_modify() && !v1.needs_http_endpoint());
    }
}
