//! What a server says about itself, and the few things that are done to whole databases.

use serde::{Deserialize, Serialize};

use super::connect::Target;
use super::version::Version;
use crate::base::Result;

/// A server, and one database of it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// Identifies the cluster for its whole life; a copy made by physical means shares it. Absent where it may not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// Version number.
    pub version: Version,
    /// Version as the server writes it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub version_text: String,
    /// Timeline, where it may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<u32>,
    /// Position in the write-ahead log, `0/1A2B3C4`: everything before it is in the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
    /// Whether the server is a standby.
    pub in_recovery: bool,
    /// Encoding of the database.
    pub encoding: String,
    /// `LC_COLLATE` of the database.
    pub collate: String,
    /// `LC_CTYPE` of the database.
    pub ctype: String,
    /// Size of the database on the server's disk, in bytes.
    pub database_bytes: u64,
    /// Role that we are.
    pub user: String,
    /// Whether that role is a superuser.
    pub superuser: bool,
}

/// Facts of the server and database of `target`.
pub async fn server_facts(target: &Target) -> Result<ServerFacts> {
    let _ = target;
    Err(crate::base::Error::internal("not yet"))
}

/// Names of all databases that accept connections and are no templates, sorted.
pub async fn databases(target: &Target) -> Result<Vec<String>> {
    let _ = target;
    Err(crate::base::Error::internal("not yet"))
}

/// Creates the empty database `name` on the server of `target`, from `template0`.
pub async fn create_database(target: &Target, name: &str) -> Result<()> {
    let _ = (target, name);
    Err(crate::base::Error::internal("not yet"))
}

/// Drops database `name` on the server of `target` if it exists, ending its sessions.
pub async fn drop_database(target: &Target, name: &str) -> Result<()> {
    let _ = (target, name);
    Err(crate::base::Error::internal("not yet"))
}
