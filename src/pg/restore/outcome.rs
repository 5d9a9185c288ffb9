//! What a restore did, and everything that went wrong.

use serde::{Deserialize, Serialize};

/// A statement that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreError {
    /// Id of the entry.
    pub entry: String,
    /// First line of the statement.
    pub statement: String,
    /// SQLSTATE, where the server gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// The server's message.
    pub message: String,
}

impl RestoreError {
    /// Whether it is a security label whose provider the server has not loaded: that is the server's lack, and nothing is wrong with the backup.
    pub fn lacks_label_provider(&self) -> bool {
        self.statement.starts_with("SECURITY LABEL ") && self.sqlstate.as_deref() == Some("22023")
    }
}

/// An entry that was not tried because one that it needs had failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Id of the entry.
    pub entry: String,
    /// Id of the failed or skipped entry that it needs.
    pub because: String,
}

/// A table that does not hold what the backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableMismatch {
    /// Id of the entry that creates the table.
    pub entry: String,
    /// Rows in the backup.
    pub expected: u64,
    /// Rows that the server accepted.
    pub loaded: u64,
}

/// How long one phase took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// `roles`, `before the rows`, `rows`, `after the rows`, `privileges`, `statistics`.
    pub phase: String,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// What a restore did. Complete only if [`RestoreOutcome::is_complete`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RestoreOutcome {
    /// Statements that failed.
    pub errors: Vec<RestoreError>,
    /// Entries not tried because of them.
    pub skipped: Vec<Skipped>,
    /// Tables whose rows are not all there.
    pub mismatches: Vec<TableMismatch>,
    /// What differs from the source without being lost.
    pub warnings: Vec<String>,
    /// Entries restored.
    pub objects: u64,
    /// Rows loaded.
    pub rows: u64,
    /// Bytes of COPY text loaded.
    pub bytes: u64,
    /// Wall-clock seconds of everything.
    pub seconds: f64,
    /// The same by phase.
    pub phases: Vec<PhaseTime>,
    /// Whether the database was made by this restore.
    pub created_database: bool,
}

impl RestoreOutcome {
    /// Whether nothing of what was planned is missing.
    pub fn is_complete(&self) -> bool {
        self.errors.is_empty() && self.skipped.is_empty() && self.mismatches.is_empty()
    }
}
