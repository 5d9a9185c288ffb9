//! From RDS's descriptions to settings of ours.

use aws_sdk_rds::types::{DbCluster, DbInstance};

use super::settings::{ClusterSettings, InstanceSettings, Settings};
use super::{Rds, Unit, tags_of};
use crate::base::{Error, Result};
use crate::cloud::aws;
use crate::cloud::tags::Tags;

/// Something of RDS that has a status.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// `available`, `backing-up`, …
    pub status: String,
    /// Host to connect to, once there is one.
    pub endpoint: Option<String>,
    /// Its ARN.
    pub arn: String,
    /// What it is.
    pub settings: Settings,
}

impl Described {
    /// Its tags.
    pub const fn tags(&self) -> &Tags {
        match &self.settings {
            Settings::Instance(instance) => &instance.tags,
            Settings::Cluster(cluster, _) => &cluster.tags,
        }
    }
}

impl Rds {
    /// The instance or cluster `id`; `None`: there is none.
    pub async fn find(&self, unit: Unit, id: &str) -> Result<Option<Described>> {
        let found = match unit {
            Unit::Instance => self.find_instance(id).await,
            Unit::Cluster => self.find_cluster(id).await,
        };
        match found {
            Err(error) if super::is_absent(&error) => Ok(None),
            found => found,
        }
    }

    /// The same; it is an error of kind `NotFound` when there is none.
    pub async fn describe(&self, unit: Unit, id: &str) -> Result<Described> {
        self.find(unit, id).await?.ok_or_else(|| {
            Error::not_found(format!("there is no {} '{id}' in {}", unit.noun(), self.region()))
                .hint("compare identifier and region with the policy's [source]; an Aurora cluster is named by `cluster`, not by `instance`")
        })
    }

    async fn find_instance(&self, id: &str) -> Result<Option<Described>> {
        let what = format!("describe DB instance {id}");
        let answer = self.client.describe_db_instances().db_instance_identifier(id).send().await;
        let answer = answer.map_err(|e| aws::failure(&what, "rds:DescribeDBInstances", e))?;
        Ok(answer.db_instances.unwrap_or_default().into_iter().next().map(|instance| Described {
            status: instance.db_instance_status().unwrap_or_default().to_owned(),
            endpoint: instance.endpoint().and_then(|e| e.address()).map(str::to_owned),
            arn: instance.db_instance_arn().unwrap_or_default().to_owned(),
            settings: Settings::Instance(Box::new(instance_settings(&instance))),
        }))
    }

    async fn find_cluster(&self, id: &str) -> Result<Option<Described>> {
        let what = format!("describe DB cluster {id}");
        let answer = self.client.describe_db_clusters().db_cluster_identifier(id).send().await;
        let answer = answer.map_err(|e| aws::failure(&what, "rds:DescribeDBClusters", e))?;
        let Some(cluster) = answer.db_clusters.unwrap_or_default().into_iter().next() else { return Ok(None) };
        let mut members = Vec::new();
        for member in cluster.db_cluster_members() {
            let Some(name) = member.db_instance_identifier() else { continue };
            // One that was deleted meanwhile is no member any more.
            if let Some(Described { settings: Settings::Instance(mut instance), .. }) =
                Box::pin(self.find(Unit::Instance, name)).await?
            {
                instance.is_cluster_writer = member.is_cluster_writer().unwrap_or_default();
                instance.promotion_tier = member.promotion_tier().or(instance.promotion_tier);
                members.push(*instance);
            }
        }
        members.sort_by_key(|m| (!m.is_cluster_writer, m.promotion_tier, m.identifier.clone()));
        Ok(Some(Described {
            status: cluster.status().unwrap_or_default().to_owned(),
            endpoint: cluster.endpoint().map(str::to_owned),
            arn: cluster.db_cluster_arn().unwrap_or_default().to_owned(),
            settings: Settings::Cluster(Box::new(cluster_settings(&cluster)), members),
        }))
    }
}

fn instance_settings(i: &DbInstance) -> InstanceSettings {
    let own = |text: Option<&str>| text.map(str::to_owned);
    let provisioned = |n: Option<i32>| n.filter(|n| *n > 0);
    InstanceSettings {
        identifier: own(i.db_instance_identifier()).unwrap_or_default(),
        dbi_resource_id: own(i.dbi_resource_id()),
        class: own(i.db_instance_class()).unwrap_or_default(),
        engine: own(i.engine()).unwrap_or_default(),
        engine_version: own(i.engine_version()).unwrap_or_default(),
        license_model: own(i.license_model()),
        cluster: own(i.db_cluster_identifier()),
        port: i.endpoint().and_then(aws_sdk_rds::types::Endpoint::port).or(i.db_instance_port()).filter(|p| *p > 0),
        availability_zone: own(i.availability_zone()),
        multi_az: i.multi_az().unwrap_or_default(),
        subnet_group: i.db_subnet_group().and_then(|g| own(g.db_subnet_group_name())),
        vpc_security_group_ids: i.vpc_security_groups().iter().filter_map(|g| own(g.vpc_security_group_id())).collect(),
        publicly_accessible: i.publicly_accessible().unwrap_or_default(),
        network_type: own(i.network_type()),
        parameter_group: i.db_parameter_groups().first().and_then(|g| own(g.db_parameter_group_name())),
        option_group_name: i.option_group_memberships().first().and_then(|g| own(g.option_group_name())),
        allocated_storage: i.allocated_storage().unwrap_or_default(),
        max_allocated_storage: provisioned(i.max_allocated_storage()),
        storage_type: own(i.storage_type()),
        iops: provisioned(i.iops()),
        storage_throughput: provisioned(i.storage_throughput()),
        dedicated_log_volume: i.dedicated_log_volume(),
        storage_encrypted: i.storage_encrypted().unwrap_or_default(),
        kms_key_id: own(i.kms_key_id()),
        processor_features: i.processor_features().iter().filter_map(|f| Some((own(f.name())?, own(f.value())?))).collect(),
        use_default_processor_features: false,
        auto_minor_version_upgrade: i.auto_minor_version_upgrade(),
        copy_tags_to_snapshot: i.copy_tags_to_snapshot(),
        deletion_protection: i.deletion_protection().unwrap_or_default(),
        iam_authentication: i.iam_database_authentication_enabled().unwrap_or_default(),
        enable_cloudwatch_logs_exports: i.enabled_cloudwatch_logs_exports().to_vec(),
        ca_certificate: own(i.ca_certificate_identifier()),
        backup_retention_period: i.backup_retention_period(),
        preferred_backup_window: own(i.preferred_backup_window()),
        preferred_maintenance_window: own(i.preferred_maintenance_window()),
        database_insights_mode: i.database_insights_mode().map(|m| m.as_str().to_owned()),
        enable_performance_insights: i.performance_insights_enabled().unwrap_or_default(),
        performance_insights_kms_key_id: own(i.performance_insights_kms_key_id()),
        performance_insights_retention_period: provisioned(i.performance_insights_retention_period()),
        monitoring_interval: i.monitoring_interval(),
        monitoring_role_arn: own(i.monitoring_role_arn()),
        promotion_tier: i.promotion_tier(),
        is_cluster_writer: false,
        manage_master_user_password: i.master_user_secret().is_some(),
        master_user_secret_kms_key_id: i.master_user_secret().and_then(|s| own(s.kms_key_id())),
        engine_lifecycle_support: own(i.engine_lifecycle_support()),
        tags: users(tags_of(i.tag_list())),
    }
}

fn cluster_settings(c: &DbCluster) -> ClusterSettings {
    let own = |text: Option<&str>| text.map(str::to_owned);
    let scaling = c.serverless_v2_scaling_configuration();
    ClusterSettings {
        identifier: own(c.db_cluster_identifier()).unwrap_or_default(),
        db_cluster_resource_id: own(c.db_cluster_resource_id()),
        engine: own(c.engine()).unwrap_or_default(),
        engine_version: own(c.engine_version()).unwrap_or_default(),
        engine_mode: own(c.engine_mode()),
        port: c.port().filter(|p| *p > 0),
        subnet_group: own(c.db_subnet_group()),
        vpc_security_group_ids: c.vpc_security_groups().iter().filter_map(|g| own(g.vpc_security_group_id())).collect(),
        publicly_accessible: c.publicly_accessible(),
        network_type: own(c.network_type()),
        parameter_group: own(c.db_cluster_parameter_group()),
        storage_type: own(c.storage_type()).filter(|t| !t.is_empty()),
        iops: c.iops().filter(|n| *n > 0),
        allocated_storage: c.allocated_storage().unwrap_or_default(),
        instance_class: own(c.db_cluster_instance_class()).filter(|t| !t.is_empty()),
        storage_encrypted: c.storage_encrypted().unwrap_or_default(),
        kms_key_id: own(c.kms_key_id()),
        serverless_v2_scaling_configuration: scaling
            .and_then(|s| Some((s.min_capacity()?, s.max_capacity()?, s.seconds_until_auto_pause()))),
        backtrack_window: c.backtrack_window().filter(|n| *n > 0),
        copy_tags_to_snapshot: c.copy_tags_to_snapshot(),
        deletion_protection: c.deletion_protection().unwrap_or_default(),
        iam_authentication: c.iam_database_authentication_enabled().unwrap_or_default(),
        enable_cloudwatch_logs_exports: c.enabled_cloudwatch_logs_exports().to_vec(),
        backup_retention_period: c.backup_retention_period(),
        preferred_backup_window: own(c.preferred_backup_window()),
        preferred_maintenance_window: own(c.preferred_maintenance_window()),
        auto_minor_version_upgrade: c.auto_minor_version_upgrade(),
        ca_certificate: c.certificate_details().and_then(|d| own(d.ca_identifier())),
        database_insights_mode: c.database_insights_mode().map(|m| m.as_str().to_owned()),
        enable_performance_insights: c.performance_insights_enabled().unwrap_or_default(),
        performance_insights_kms_key_id: own(c.performance_insights_kms_key_id()),
        performance_insights_retention_period: c.performance_insights_retention_period().filter(|n| *n > 0),
        monitoring_interval: c.monitoring_interval(),
        monitoring_role_arn: own(c.monitoring_role_arn()),
        enable_http_endpoint: c.http_endpoint_enabled().unwrap_or_default(),
        manage_master_user_password: c.master_user_secret().is_some(),
        master_user_secret_kms_key_id: c.master_user_secret().and_then(|s| own(s.kms_key_id())),
        engine_lifecycle_support: own(c.engine_lifecycle_support()),
        tags: users(tags_of(c.tag_list())),
    }
}

/// Tags that a user may set: AWS keeps `aws:` for itself.
fn users(mut tags: Tags) -> Tags {
    tags.retain(|key, _| !key.starts_with("aws:"));
    tags
}
