//! What a restore did, and everything that went wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What of an entry a statement makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The object itself, and with it all that needs it.
    Object,
    /// Rows of the table.
    Rows,
    /// Who owns it: without it, it belongs to the role that restores.
    Owner,
    /// A GRANT or REVOKE.
    Privileges,
    /// In whose name a privilege is granted: without it, it is granted by the owner.
    Grantor,
    /// A comment.
    Comment,
    /// A security label.
    Label,
    /// An attribute or the password of a role, or a property of the database.
    Attribute,
    /// A setting of a role or of the database.
    Setting,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "object",
            Self::Rows => "rows",
            Self::Owner => "owner",
            Self::Privileges => "privilege",
            Self::Grantor => "grantor",
            Self::Comment => "comment",
            Self::Label => "security label",
            Self::Attribute => "attribute",
            Self::Setting => "setting",
        })
    }
}

/// Something of the backup that the target will not have, as far as can be told beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Id of the entry.
    pub entry: String,
    /// What of it.
    pub part: Part,
    /// First line of the statement that will be refused; absent where it is the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.statement {
            None => write!(f, "{}: {}", self.entry, self.reason),
            Some(statement) => write!(f, "{} of {}: {}; statement: {statement}", self.part, self.entry, self.reason),
        }
    }
}

/// A statement that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreError {
    /// Id of the entry.
    pub entry: String,
    /// What of it.
    pub part: Part,
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
    /// `roles`, `database`, `removal of rows`, `removal`, `before the rows`, `rows`, `after the rows`, `privileges`, `statistics` (and the
    /// contents of materialised views).
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
