//! The plan of a restore: looked at first, shown, stored, then executed as it stands.

use serde::{Deserialize, Serialize};

use super::{RestoreInput, RestoreOptions};
use crate::base::{Error, Result};
use crate::pg::connect::Target;
use crate::pg::version::Version;

/// The server and database that a restore goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFacts {
    /// Host or socket directory.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role that restores.
    pub user: String,
    /// Whether that role is a superuser.
    pub superuser: bool,
    /// Identity of the cluster, where it may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// Version number.
    pub version: Version,
    /// Whether the database exists.
    pub exists: bool,
    /// User objects in it.
    pub objects: u64,
}

/// What a restore will do. Printable with `Display`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestorePlan {
    /// Where to.
    pub target: TargetFacts,
    /// Whether target and source are the same cluster.
    pub same_cluster: bool,
    /// Name of the database in the source.
    pub source_database: String,
    /// Version of the source.
    pub source_version: Version,
    /// The options it was made with.
    pub options: RestoreOptions,
    /// Whether the database will be created.
    pub create_database: bool,
    /// Roles that will be created.
    pub create_roles: Vec<String>,
    /// Ids of the entries of the cluster that will be restored.
    pub cluster: Vec<String>,
    /// Ids of the entries that will be dropped first (`clean`), in drop order.
    pub drop: Vec<String>,
    /// Ids of the entries that will be restored, in order.
    pub entries: Vec<String>,
    /// Ids of the entries whose rows will be loaded.
    pub tables: Vec<String>,
    /// Rows to load.
    pub rows: u64,
    /// Bytes of COPY text to load.
    pub bytes: u64,
    /// What will differ from the source, in sentences.
    pub warnings: Vec<String>,
}

/// Looks at the target and decides what a restore would do. Refuses what cannot work: a target that is not empty (conflict), a server older
/// than the source (unsupported), extensions that the server does not have (unsupported), roles that are missing and may not be made (denied).
pub async fn plan(target: &Target, input: &RestoreInput, options: &RestoreOptions) -> Result<RestorePlan> {
    let _ = (target, input, options);
    Err(Error::internal("not yet"))
}
