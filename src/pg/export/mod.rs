//! One database as entries and streams, all of one snapshot.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::catalog::entry::Entry;
use super::connect::Target;
use super::copy::{Sink, TableData};
use super::facts::ServerFacts;
use crate::base::Result;
use crate::base::clock::SharedClock;
use crate::base::progress::SharedProgress;
use crate::base::shutdown::Shutdown;

/// What to export and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// Connections that read rows at the same time, at least 1.
    pub jobs: usize,
    /// Tables whose rows are left out, as `schema.table` with `*` for any characters.
    pub exclude_table_data: Vec<String>,
    /// Whether objects that no kind covers are only reported; otherwise they fail the export.
    pub allow_unmodeled: bool,
}

/// One exported database; its rows went to the sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// The server and database.
    pub facts: ServerFacts,
    /// Name of the database.
    pub database: String,
    /// The server's clock when the snapshot was taken: whatever was committed before is in it.
    pub consistent_at: Timestamp,
    /// All objects, in restore order.
    pub entries: Vec<Entry>,
    /// All tables whose rows were read, in order of schema and name; large objects are the last of them
    /// ([`TableData::is_large_objects`]).
    pub tables: Vec<TableData>,
    /// Objects that no kind covers.
    pub unmodeled: Vec<String>,
    /// What the reader of the backup should know.
    pub warnings: Vec<String>,
}

/// What all databases of a server share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterExport {
    /// The server.
    pub facts: ServerFacts,
    /// Roles, memberships, tablespaces, in restore order.
    pub entries: Vec<Entry>,
    /// What the reader of the backup should know, such as passwords that may not be read.
    pub warnings: Vec<String>,
}

/// Exports the database of `target`; rows go to `sink`.
pub async fn export(
    target: &Target,
    options: &ExportOptions,
    sink: Arc<dyn Sink>,
    progress: &SharedProgress,
    shutdown: &Shutdown,
    clock: &SharedClock,
) -> Result<Export> {
    let _ = (target, options, sink, progress, shutdown, clock);
    Err(crate::base::Error::internal("not yet"))
}

/// Exports roles, memberships and tablespaces of the server of `target`.
pub async fn export_cluster(target: &Target) -> Result<ClusterExport> {
    let _ = target;
    Err(crate::base::Error::internal("not yet"))
}
