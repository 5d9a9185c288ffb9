//! Manual snapshots: made, looked at, listed, copied, deleted.

use aws_sdk_rds::types::{DbClusterSnapshot, DbSnapshot};
use jiff::Timestamp;

use super::{Rds, Unit, is_absent, tags_of, time, to_tags};
use crate::base::Result;
use crate::cloud::aws;
use crate::cloud::tags::Tags;

/// Most that one page of a description may hold.
const PAGE: i32 = 100;

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What it is of.
    pub unit: Unit,
    /// Its identifier.
    pub id: String,
    /// Its ARN: names it in other regions.
    pub arn: String,
    /// Identifier of the instance or cluster.
    pub of: String,
    /// `creating`, `available`, `failed`, …
    pub status: String,
    /// How much of it is done, in per cent.
    pub percent: u64,
    /// When RDS made it.
    pub created_at: Option<Timestamp>,
    /// The instant that it shows, if RDS says.
    pub shows: Option<Timestamp>,
    /// Size of what a restore makes, in bytes.
    pub bytes: u64,
    /// Version of the engine, if RDS says.
    pub engine_version: Option<String>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Its tags.
    pub tags: Tags,
}

impl Snapshot {
    /// One of which RDS said no more than that it was begun.
    pub fn begun(unit: Unit, of: &str, id: &str) -> Self {
        Self {
            unit,
            id: id.to_owned(),
            arn: String::new(),
            of: of.to_owned(),
            status: "creating".to_owned(),
            percent: 0,
            created_at: None,
            shows: None,
            bytes: 0,
            engine_version: None,
            encrypted: false,
            tags: Tags::new(),
        }
    }

    /// Whether RDS is deleting it.
    pub fn is_going(&self) -> bool {
        matches!(self.status.as_str(), "deleting" | "deleted")
    }

    /// Whether it is complete.
    pub fn is_available(&self) -> bool {
        self.status == "available"
    }

    /// Whether it never will be.
    pub fn has_failed(&self) -> bool {
        matches!(self.status.as_str(), "failed" | "incompatible-restore" | "incompatible-parameters") || self.is_going()
    }
}

impl Rds {
    /// Asks for a snapshot `id` of `of`. One of this identifier that is there already is an error that [`super::exists_already`] knows.
    pub async fn create_snapshot(&self, unit: Unit, of: &str, id: &str, tags: &Tags) -> Result<Snapshot> {
        let what = format!("take a snapshot of {} {of}", unit.noun());
        let tags = Some(to_tags(tags));
        match unit {
            Unit::Instance => {
                let call = self.client.create_db_snapshot().db_instance_identifier(of).db_snapshot_identifier(id).set_tags(tags);
                let answer = call.send().await.map_err(|e| aws::failure(&what, "rds:CreateDBSnapshot", e))?;
                Ok(answer.db_snapshot().map_or_else(|| Snapshot::begun(unit, of, id), of_instance))
            }
            Unit::Cluster => {
                let call = self.client.create_db_cluster_snapshot();
                let call = call.db_cluster_identifier(of).db_cluster_snapshot_identifier(id).set_tags(tags);
                let answer = call.send().await.map_err(|e| aws::failure(&what, "rds:CreateDBClusterSnapshot", e))?;
                Ok(answer.db_cluster_snapshot().map_or_else(|| Snapshot::begun(unit, of, id), of_cluster))
            }
        }
    }

    /// Asks for a copy, in this client's region, of a snapshot in another. `key`: KMS key of this region; needed for encrypted ones.
    pub async fn copy_snapshot(&self, from: &Snapshot, id: &str, key: Option<&str>, tags: &Tags) -> Result<Snapshot> {
        let what = format!("copy snapshot {} to {}", from.id, self.region());
        let tags = Some(to_tags(tags));
        match from.unit {
            Unit::Instance => {
                let call =
                    self.client.copy_db_snapshot().source_db_snapshot_identifier(&from.arn).target_db_snapshot_identifier(id);
                let answer = call.set_kms_key_id(key.map(str::to_owned)).set_tags(tags).send().await;
                let answer = answer.map_err(|e| aws::failure(&what, "rds:CopyDBSnapshot", e))?;
                Ok(answer.db_snapshot().map_or_else(|| Snapshot::begun(from.unit, &from.of, id), of_instance))
            }
            Unit::Cluster => {
                let call = self.client.copy_db_cluster_snapshot();
                let call = call.source_db_cluster_snapshot_identifier(&from.arn).target_db_cluster_snapshot_identifier(id);
                let answer = call.set_kms_key_id(key.map(str::to_owned)).set_tags(tags).send().await;
                let answer = answer.map_err(|e| aws::failure(&what, "rds:CopyDBClusterSnapshot", e))?;
                Ok(answer.db_cluster_snapshot().map_or_else(|| Snapshot::begun(from.unit, &from.of, id), of_cluster))
            }
        }
    }

    /// The snapshot `id` of a unit; `None`: there is none.
    pub async fn snapshot(&self, unit: Unit, id: &str) -> Result<Option<Snapshot>> {
        let what = format!("look at snapshot {id} in {}", self.region());
        let found = match unit {
            Unit::Instance => {
                let answer = self.client.describe_db_snapshots().db_snapshot_identifier(id).send().await;
                let answer = answer.map_err(|e| aws::failure(&what, "rds:DescribeDBSnapshots", e));
                answer.map(|a| a.db_snapshots().first().map(of_instance))
            }
            Unit::Cluster => {
                let answer = self.client.describe_db_cluster_snapshots().db_cluster_snapshot_identifier(id).send().await;
                let answer = answer.map_err(|e| aws::failure(&what, "rds:DescribeDBClusterSnapshots", e));
                answer.map(|a| a.db_cluster_snapshots().first().map(of_cluster))
            }
        };
        match found {
            Err(error) if is_absent(&error) => Ok(None),
            found => found,
        }
    }

    /// The snapshot `id`, whatever it is of. RDS keeps the two kinds apart, and pgkeep's identifiers never name one of each.
    pub async fn any_snapshot(&self, id: &str) -> Result<Option<Snapshot>> {
        match self.snapshot(Unit::Instance, id).await? {
            Some(found) => Ok(Some(found)),
            None => self.snapshot(Unit::Cluster, id).await,
        }
    }

    /// Every manual snapshot of this account in the region.
    pub async fn manual_snapshots(&self) -> Result<Vec<Snapshot>> {
        let what = format!("list the snapshots in {}", self.region());
        let mut found = Vec::new();
        let call = self.client.describe_db_snapshots().snapshot_type("manual").max_records(PAGE);
        let mut pages = call.into_paginator().items().send();
        while let Some(snapshot) = pages.next().await {
            found.push(of_instance(&snapshot.map_err(|e| aws::failure(&what, "rds:DescribeDBSnapshots", e))?));
        }
        let call = self.client.describe_db_cluster_snapshots().snapshot_type("manual").max_records(PAGE);
        let mut pages = call.into_paginator().items().send();
        while let Some(snapshot) = pages.next().await {
            found.push(of_cluster(&snapshot.map_err(|e| aws::failure(&what, "rds:DescribeDBClusterSnapshots", e))?));
        }
        Ok(found)
    }

    /// Deletes a snapshot; `false`: there was none any more.
    pub async fn delete_snapshot(&self, unit: Unit, id: &str) -> Result<bool> {
        let what = format!("delete snapshot {id} in {}", self.region());
        let outcome = match unit {
            Unit::Instance => {
                let answer = self.client.delete_db_snapshot().db_snapshot_identifier(id).send().await;
                answer.map(drop).map_err(|e| aws::failure(&what, "rds:DeleteDBSnapshot", e))
            }
            Unit::Cluster => {
                let answer = self.client.delete_db_cluster_snapshot().db_cluster_snapshot_identifier(id).send().await;
                answer.map(drop).map_err(|e| aws::failure(&what, "rds:DeleteDBClusterSnapshot", e))
            }
        };
        match outcome {
            Err(error) if is_absent(&error) => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }
}

fn of_instance(s: &DbSnapshot) -> Snapshot {
    let created_at = time(s.original_snapshot_create_time()).or_else(|| time(s.snapshot_create_time()));
    Snapshot {
        unit: Unit::Instance,
        id: s.db_snapshot_identifier().unwrap_or_default().to_owned(),
        arn: s.db_snapshot_arn().unwrap_or_default().to_owned(),
        of: s.db_instance_identifier().unwrap_or_default().to_owned(),
        status: s.status().unwrap_or_default().to_owned(),
        percent: percent(s.percent_progress()),
        created_at,
        shows: time(s.snapshot_database_time()).or(created_at),
        bytes: gib(s.allocated_storage()),
        engine_version: s.engine_version().map(str::to_owned),
        encrypted: s.encrypted().unwrap_or_default(),
        tags: tags_of(s.tag_list()),
    }
}

fn of_cluster(s: &DbClusterSnapshot) -> Snapshot {
    let created_at = time(s.snapshot_create_time());
    Snapshot {
        unit: Unit::Cluster,
        id: s.db_cluster_snapshot_identifier().unwrap_or_default().to_owned(),
        arn: s.db_cluster_snapshot_arn().unwrap_or_default().to_owned(),
        of: s.db_cluster_identifier().unwrap_or_default().to_owned(),
        status: s.status().unwrap_or_default().to_owned(),
        percent: percent(s.percent_progress()),
        created_at,
        shows: created_at,
        bytes: gib(s.allocated_storage()),
        engine_version: s.engine_version().map(str::to_owned),
        encrypted: s.storage_encrypted().unwrap_or_default(),
        tags: tags_of(s.tag_list()),
    }
}

fn percent(done: Option<i32>) -> u64 {
    u64::try_from(done.unwrap_or_default()).unwrap_or_default().min(100)
}

fn gib(size: Option<i32>) -> u64 {
    u64::try_from(size.unwrap_or_default()).unwrap_or_default() << 30
}
