//! `source` of a head: what was backed up, in the few words that a list, a choice and a prune need. The whole is in the contents.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::{Error, Result};
use crate::repo::head::Head;

/// `source` of a head, by kind of source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SourceSummary {
    /// Databases of a PostgreSQL server.
    Postgres(PostgresSummary),
    /// EBS snapshots of volumes.
    Ebs(SnapshotSummary),
    /// Snapshots of an RDS instance or cluster.
    Rds(SnapshotSummary),
}

impl SourceSummary {
    /// What `head` says of its source.
    pub fn of(head: &Head) -> Result<Self> {
        serde_json::from_value(head.source.clone()).map_err(|e| {
            Error::integrity(format!("the head of backup {} does not say what was backed up", head.backup)).source(e)
        })
    }

    /// The value of `kind`, as policies have it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::Ebs(_) => "ebs",
            Self::Rds(_) => "rds",
        }
    }

    /// The summary of PostgreSQL databases, if it is one.
    pub const fn postgres(&self) -> Option<&PostgresSummary> {
        match self {
            Self::Postgres(summary) => Some(summary),
            Self::Ebs(_) | Self::Rds(_) => None,
        }
    }

    /// The summary of snapshots, if it is one.
    pub const fn snapshots(&self) -> Option<&SnapshotSummary> {
        match self {
            Self::Postgres(_) => None,
            Self::Ebs(summary) | Self::Rds(summary) => Some(summary),
        }
    }

    /// Names of what is in it: databases, volumes, the instance or cluster.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Postgres(summary) => summary.databases.iter().map(|d| d.name.clone()).collect(),
            Self::Ebs(summary) | Self::Rds(summary) => summary.originals().map(|s| s.of.clone()).collect(),
        }
    }

    /// Where it comes from, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Postgres(summary) => format!("{} (PostgreSQL {})", summary.server, summary.version),
            Self::Ebs(summary) => format!("{} in {} (EBS)", summary.of, summary.region),
            Self::Rds(summary) => format!("{} in {} (RDS)", summary.of, summary.region),
        }
    }
}

/// Databases of a PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PostgresSummary {
    /// Identity of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// Version as the server writes it.
    pub version: String,
    /// `server_version_num`.
    pub version_num: u32,
    /// `host:port`, no user, no password.
    pub server: String,
    /// The databases.
    pub databases: Vec<DatabaseSummary>,
}

/// One database: what a person wants to know before choosing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatabaseSummary {
    /// Its name.
    pub name: String,
    /// The instant that its snapshot shows, by the server's clock.
    pub consistent_at: Timestamp,
    /// Position in the write-ahead log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
    /// Timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<u32>,
    /// Tables whose rows are in the backup.
    pub tables: u64,
    /// Objects.
    pub objects: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text.
    pub bytes: u64,
    /// Size on the server's disk.
    pub database_bytes: u64,
}

/// A set of snapshots that AWS keeps. It must name every snapshot that the backup owns: a prune deletes by it when the contents are gone already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotSummary {
    /// The account of AWS that the snapshots are in; the first versions did not write it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Region of the originals.
    pub region: String,
    /// What was snapshotted, for people: an instance, a cluster, a number of volumes.
    pub of: String,
    /// Whether the snapshots show one and the same instant.
    pub consistent_set: bool,
    /// The snapshots, originals first.
    pub snapshots: Vec<SnapshotRef>,
}

impl SnapshotSummary {
    /// The snapshots that are no copies.
    pub fn originals(&self) -> impl Iterator<Item = &SnapshotRef> {
        self.snapshots.iter().filter(|s| s.copy_of.is_none())
    }

    /// Sizes of what was snapshotted, together: what a restore makes, not what the snapshots cost.
    pub fn bytes(&self) -> u64 {
        self.originals().map(|s| s.bytes).sum()
    }
}

/// One snapshot in AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// Where it is.
    pub region: String,
    /// Its id there: `snap-…` of EBS, the identifier of RDS.
    pub id: String,
    /// What it shows: a volume id, the identifier of an instance or cluster.
    pub of: String,
    /// Size of that.
    pub bytes: u64,
    /// Id of the snapshot that it is a copy of, for copies in other regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_the_first_versions_keep_their_meaning() {
        let old = serde_json::json!({
            "kind": "postgres", "system_identifier": "7", "version": "17.10", "version_num": 170_010, "server": "db:5432", "databases": []
        });
        let summary: SourceSummary = serde_json::from_value(old.clone()).expect("parse");
        assert_eq!((summary.kind(), summary.describe().as_str()), ("postgres", "db:5432 (PostgreSQL 17.10)"));
        assert_eq!(serde_json::to_value(&summary).expect("write"), old);
    }
}
