//! From entries and streams to a database: a plan that a person can read, then its execution.

mod analyze;
mod board;
mod defaults;
mod ledger;
mod load;
mod losses;
mod notes;
mod outcome;
mod partition_keys;
mod plan;
mod power;
mod references;
mod render;
mod roles;
mod run;
mod script;
mod select;
mod statements;
mod tasks;
mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use outcome::{Loss, Part, PhaseTime, RestoreError, RestoreOutcome, Skipped, TableMismatch};
pub use plan::{RestorePlan, TargetFacts, plan};
pub use run::execute;
pub(in crate::pg) use statements::redact;

use super::catalog::entry::Entry;
use super::copy::TableData;
use super::facts::ServerFacts;

/// What a backup holds, except the rows. Cheap to clone: the lists may be long, and are shared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoreInput {
    /// Name of the database in the source.
    pub database: String,
    /// The source's server.
    pub source: ServerFacts,
    /// Objects, in restore order.
    pub entries: Arc<[Entry]>,
    /// Roles, memberships and tablespaces, in restore order.
    pub cluster: Arc<[Entry]>,
    /// Tables and their streams.
    pub tables: Arc<[TableData]>,
}

/// What of it to restore, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreOptions {
    /// Only these tables, as `schema.table` (`table` alone means any schema), `*` for any characters.
    pub tables: Vec<String>,
    /// Only what is in these schemas, `*` for any characters.
    pub schemas: Vec<String>,
    /// No rows.
    pub schema_only: bool,
    /// Rows only, into tables that exist.
    pub data_only: bool,
    /// Everything belongs to the role that restores.
    pub no_owner: bool,
    /// No GRANT and REVOKE.
    pub no_privileges: bool,
    /// Source role → role of the target, for owners, privileges, memberships.
    pub role_map: BTreeMap<String, String>,
    /// Connections that work at the same time, at least 1.
    pub jobs: usize,
    /// Drops the objects of the backup in the target first, and allows a target that is not empty.
    pub clean: bool,
}
