//! New instances and clusters, with the settings of old ones. RDS itself refuses a name that is taken: nothing that exists is ever changed, but for the
//! settings that RDS takes only after it has made what a restore asked for.

use aws_sdk_rds::types::{DatabaseInsightsMode, ProcessorFeature, ServerlessV2ScalingConfiguration};
use jiff::Timestamp;

use super::settings::{ClusterSettings, InstanceSettings};
use super::{Rds, to_aws, to_tags};
use crate::base::Result;
use crate::cloud::aws;

/// What a new instance or cluster is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A snapshot, by its identifier.
    Snapshot(String),
    /// The automated backups, at an instant.
    Time {
        /// Identifier of the instance or cluster.
        of: String,
        /// Its immutable id, where it is gone and only its automated backups are left.
        gone: Option<String>,
        /// The instant.
        at: Timestamp,
    },
}

/// Below this size RDS takes no numbers for gp3: it gives the baseline, and reports it.
const GP3_BASELINE_GIB: i32 = 400;
/// gp3's baseline: operations a second, MiB/s.
const GP3_BASELINE: (i32, i32) = (3000, 125);

impl InstanceSettings {
    /// Without what RDS reports and does not take back.
    pub fn to_ask(mut self) -> Self {
        let baseline = (self.iops, self.storage_throughput) == (Some(GP3_BASELINE.0), Some(GP3_BASELINE.1));
        let gp2 = self.storage_type.as_deref() == Some("gp2");
        if gp2 || self.storage_type.as_deref() == Some("gp3") && self.allocated_storage < GP3_BASELINE_GIB && baseline {
            (self.iops, self.storage_throughput) = (None, None);
        }
        if self.multi_az {
            self.availability_zone = None;
        }
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
    }
}

/// Whether a group is AWS's own, which is chosen by itself and need not exist before something uses it: `default`, `default.postgres17`,
/// `default:postgres-17`.
fn is_default(group: &str) -> bool {
    group == "default" || group.starts_with("default.") || group.starts_with("default:")
}

impl ClusterSettings {
    /// Without what RDS reports and does not take back.
    pub fn to_ask(mut self) -> Self {
        for group in [&mut self.subnet_group, &mut self.parameter_group] {
            group.take_if(|name| is_default(name));
        }
        self
    }

    /// Whether it makes its instances itself: a Multi-AZ DB cluster.
    pub fn is_multi_az(&self) -> bool {
        !self.engine.starts_with("aurora") && self.instance_class.is_some()
    }

    /// Whether RDS takes some of the settings only of a cluster that exists.
    pub fn needs_modify(&self) -> bool {
        self.preferred_maintenance_window.is_some() || self.enable_http_endpoint || self.manage_master_user_password
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
            .set_db_parameter_group_name($s.parameter_group.clone())
            .deletion_protection($s.deletion_protection)
            .set_network_type($s.network_type.clone())
            .set_backup_retention_period($s.backup_retention_period)
            .set_preferred_backup_window($s.preferred_backup_window.clone())
            .set_dedicated_log_volume($s.dedicated_log_volume)
            .set_ca_certificate_identifier($s.ca_certificate.clone())
            .set_engine_lifecycle_support($s.engine_lifecycle_support.clone())
            .set_manage_master_user_password($s.manage_master_user_password.then_some(true))
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
            Origin::Time { of, gone, at } => self.restore_instance_to_time(of, gone.as_deref(), *at, s).await,
        }
    }

    async fn restore_instance_from_snapshot(&self, snapshot: &str, s: &InstanceSettings) -> Result<()> {
        let call = self.client.restore_db_instance_from_db_snapshot().db_snapshot_identifier(snapshot);
        let call = instance_settings!(call.db_instance_identifier(&s.identifier), s);
        let what = format!("restore snapshot {snapshot} to {}", s.identifier);
        call.send().await.map(drop).map_err(|e| aws::failure(&what, "rds:RestoreDBInstanceFromDBSnapshot", e))
    }

    async fn restore_instance_to_time(&self, of: &str, gone: Option<&str>, at: Timestamp, s: &InstanceSettings) -> Result<()> {
        let call = self.client.restore_db_instance_to_point_in_time().restore_time(to_aws(at));
        let call = match gone {
            Some(resource) => call.source_dbi_resource_id(resource),
            None => call.source_db_instance_identifier(of),
        };
        let call = instance_settings!(call.target_db_instance_identifier(&s.identifier), s);
        let what = format!("restore {of} at {at} to {}", s.identifier);
        call.send().await.map(drop).map_err(|e| aws::failure(&what, "rds:RestoreDBInstanceToPointInTime", e))
    }

    /// Asks for the cluster `s.identifier`, without instances.
    pub async fn restore_cluster(&self, origin: &Origin, s: &ClusterSettings) -> Result<()> {
        match origin {
            Origin::Snapshot(id) => self.restore_cluster_from_snapshot(id, s).await,
            Origin::Time { of, gone, at } => self.restore_cluster_to_time(of, gone.as_deref(), *at, s).await,
        }
    }

    async fn restore_cluster_from_snapshot(&self, snapshot: &str, s: &ClusterSettings) -> Result<()> {
        let call = self.client.restore_db_cluster_from_snapshot().snapshot_identifier(snapshot);
        let call = call.db_cluster_identifier(&s.identifier).engine(&s.engine).engine_version(&s.engine_version);
        let call = cluster_settings!(call, s);
        let what = format!("restore snapshot {snapshot} to {}", s.identifier);
        call.send().await.map(drop).map_err(|e| aws::failure(&what, "rds:RestoreDBClusterFromSnapshot", e))
    }

    async fn restore_cluster_to_time(&self, of: &str, gone: Option<&str>, at: Timestamp, s: &ClusterSettings) -> Result<()> {
        let call = self.client.restore_db_cluster_to_point_in_time().restore_to_time(to_aws(at));
        let call = match gone {
            Some(resource) => call.source_db_cluster_resource_id(resource),
            None => call.source_db_cluster_identifier(of),
        };
        let call = cluster_settings!(call.db_cluster_identifier(&s.identifier), s);
        let what = format!("restore {of} at {at} to {}", s.identifier);
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
            .set_preferred_maintenance_window(s.preferred_maintenance_window.clone());
        let what = format!("set what a restore cannot on {}", s.identifier);
        call.send().await.map(drop).map_err(|e| aws::failure(&what, "rds:ModifyDBInstance", e))
    }

    /// Sets what a restore cannot: see [`ClusterSettings::needs_modify`].
    pub async fn modify_cluster(&self, s: &ClusterSettings) -> Result<()> {
        let call = self.client.modify_db_cluster().db_cluster_identifier(&s.identifier).apply_immediately(true);
        let call = call
            .set_preferred_maintenance_window(s.preferred_maintenance_window.clone())
            .set_enable_http_endpoint(s.enable_http_endpoint.then_some(true))
            .set_manage_master_user_password(s.manage_master_user_password.then_some(true));
        let what = format!("set what a restore cannot on {}", s.identifier);
        call.send().await.map(drop).map_err(|e| aws::failure(&what, "rds:ModifyDBCluster", e))
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
            multi_az: true,
            availability_zone: Some("eu-west-1a".to_owned()),
            monitoring_interval: Some(0),
            ..InstanceSettings::default()
        };
        let small = gp3(100, 3000, 125).to_ask();
        assert_eq!((small.iops, small.storage_throughput, small.availability_zone.clone()), (None, None, None));
        assert!(!small.needs_modify());
        assert_eq!(gp3(500, 12000, 500).to_ask().iops, Some(12000));
    }
}
