//! RDS: what an instance or cluster is, its manual snapshots, its point-in-time window, and new ones made of them.
//!
//! Snapshots have identifiers that their maker chooses, so that a request whose answer was lost can be repeated: the second says that there is one already,
//! and its tags say whose. All times are RDS's own.

pub mod describe;
pub mod restore;
pub mod settings;
pub mod snapshots;
mod window;

use std::collections::BTreeMap;

use aws_sdk_rds::Client;
use aws_sdk_rds::primitives::DateTime;
use aws_sdk_rds::types::Tag;
use jiff::Timestamp;

pub use self::window::Window;
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
