//! RDS: what an instance or cluster is, its manual snapshots, its point-in-time window, and new ones made of them.
//!
//! Snapshots have identifiers that their maker chooses, so that a request whose answer was lost can be repeated: the second says that there is one already,
//! and its tags say whose. All times are RDS's own.

mod describe;
pub mod restore;
pub mod settings;
pub mod snapshots;

use std::collections::BTreeMap;

use aws_sdk_rds::Client;
use aws_sdk_rds::primitives::DateTime;
use aws_sdk_rds::types::Tag;
use jiff::Timestamp;

use super::aws::{self, Repeat};
use super::tags::Tags;
use crate::base::{Error, Result};

/// Client of one region.
#[derive(Debug, Clone)]
pub struct Rds {
    client: Client,
    region: String,
}

/// What RDS makes snapshots of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// A DB instance.
    Instance,
    /// An Aurora or Multi-AZ DB cluster.
    Cluster,
}

impl Unit {
    /// The word for people.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Instance => "DB instance",
            Self::Cluster => "DB cluster",
        }
    }

    /// AWS's name of the quota of manual snapshots.
    pub const fn quota(self) -> &'static str {
        match self {
            Self::Instance => "ManualSnapshots",
            Self::Cluster => "ManualClusterSnapshots",
        }
    }
}

/// How many manual snapshots a region has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// There are.
    pub used: i64,
    /// There may be.
    pub max: i64,
}

/// The instants to which the automated backups can restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first.
    pub earliest: Timestamp,
    /// The last: usually five minutes ago.
    pub latest: Timestamp,
}

impl Window {
    /// Whether `at` is in it.
    pub fn covers(&self, at: Timestamp) -> bool {
        (self.earliest..=self.latest).contains(&at)
    }
}

impl Rds {
    /// A client of `region`, with credentials as every AWS tool finds them.
    pub async fn connect(region: &str) -> Result<Self> {
        // Every request names what it makes, so none makes a thing twice.
        let config = aws::config(Some(region), Repeat::Freely).await?;
        Ok(Self { client: Client::new(&config), region: region.to_owned() })
    }

    /// Its region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The quota of manual snapshots; `None` where RDS does not say.
    pub async fn quota(&self, unit: Unit) -> Result<Option<Quota>> {
        let what = format!("read the quotas of {}", self.region);
        let answer = self.client.describe_account_attributes().send().await;
        let quotas =
            answer.map_err(|e| aws::failure(&what, "rds:DescribeAccountAttributes", e))?.account_quotas.unwrap_or_default();
        let found = quotas.into_iter().find(|q| q.account_quota_name() == Some(unit.quota()));
        Ok(found.and_then(|q| Some(Quota { used: q.used?, max: q.max? })))
    }

    /// The window of point-in-time restores; `None` without automated backups. Also of what was deleted, while its automated backups are kept.
    pub async fn window(&self, unit: Unit, id: &str) -> Result<Option<Window>> {
        let found = match unit {
            Unit::Instance => self.instance_window(id).await?,
            Unit::Cluster => self.cluster_window(id).await?,
        };
        Ok(found.and_then(|(earliest, latest)| Some(Window { earliest: earliest?, latest: latest? })))
    }

    async fn instance_window(&self, id: &str) -> Result<Option<(Option<Timestamp>, Option<Timestamp>)>> {
        let what = format!("read the automated backups of {id}");
        let mut pages =
            self.client.describe_db_instance_automated_backups().db_instance_identifier(id).into_paginator().items().send();
        let mut newest = None;
        while let Some(backup) = pages.next().await {
            let backup = match backup.map_err(|e| aws::failure(&what, "rds:DescribeDBInstanceAutomatedBackups", e)) {
                Err(error) if is_absent(&error) => return Ok(None),
                backup => backup?,
            };
            // Of an instance that was made anew under its old name there are several: the one that goes on is `active`.
            let window = backup.restore_window().map(|w| (time(w.earliest_time()), time(w.latest_time())));
            if newest.is_none() || backup.status() == Some("active") {
                newest = window.or(newest);
            }
        }
        Ok(newest)
    }

    async fn cluster_window(&self, id: &str) -> Result<Option<(Option<Timestamp>, Option<Timestamp>)>> {
        let what = format!("read the automated backups of {id}");
        let answer = self.client.describe_db_clusters().db_cluster_identifier(id).send().await;
        match answer.map_err(|e| aws::failure(&what, "rds:DescribeDBClusters", e)) {
            Err(error) if is_absent(&error) => {}
            answer => {
                let cluster = answer?.db_clusters.unwrap_or_default().into_iter().next();
                return Ok(cluster.map(|c| (time(c.earliest_restorable_time()), time(c.latest_restorable_time()))));
            }
        }
        let mut pages =
            self.client.describe_db_cluster_automated_backups().db_cluster_identifier(id).into_paginator().items().send();
        match pages.next().await.transpose().map_err(|e| aws::failure(&what, "rds:DescribeDBClusterAutomatedBackups", e)) {
            Err(error) if is_absent(&error) => Ok(None),
            backup => {
                let window = backup?.and_then(|b| b.restore_window);
                Ok(window.map(|w| (time(w.earliest_time()), time(w.latest_time()))))
            }
        }
    }
}

/// Whether RDS says that there is no such thing.
pub fn is_absent(error: &Error) -> bool {
    aws::code(error).is_some_and(|code| code.contains("NotFound"))
}

/// Whether RDS says that there is one of this name already.
pub fn exists_already(error: &Error) -> bool {
    aws::code(error).is_some_and(|code| code.contains("AlreadyExists"))
}

/// Whether the instance, cluster or snapshot is in a state that forbids the request for now.
pub fn is_busy(error: &Error) -> bool {
    aws::code(error)
        .is_some_and(|code| code.starts_with("InvalidDB") && (code.ends_with("State") || code.ends_with("StateFault")))
}

/// Whether AWS has no room for an instance of this class in this zone: what does not pass within minutes.
pub fn lacks_room(error: &Error) -> bool {
    aws::code(error).is_some_and(|code| code.starts_with("Insufficient") && code.contains("Capacity"))
}

/// Whether the quota of manual snapshots is used up.
pub fn is_over_quota(error: &Error) -> bool {
    aws::code(error).is_some_and(|code| code.starts_with("SnapshotQuotaExceeded"))
}

/// Whether RDS refuses a copy only because it makes as many at once as it may: it uses the code of the quota, and says so in its message.
pub fn is_copying_enough(error: &Error) -> bool {
    is_over_quota(error) && error.full_message().contains("Cannot copy more than")
}

fn time(at: Option<&DateTime>) -> Option<Timestamp> {
    let at = at?;
    Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).ok()?).ok()
}

fn to_aws(at: Timestamp) -> DateTime {
    DateTime::from_secs_and_nanos(at.as_second(), u32::try_from(at.subsec_nanosecond()).unwrap_or_default())
}

fn tags_of(tags: &[Tag]) -> Tags {
    tags.iter().filter_map(|t| Some((t.key()?.to_owned(), t.value().unwrap_or_default().to_owned()))).collect()
}

fn to_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}
