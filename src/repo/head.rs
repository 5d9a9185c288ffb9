//! The commit record of a backup.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document;
use super::format::{Checksum, check_format};
use crate::base::ids::BackupId;
use crate::base::{Error, Result};
use crate::store::Key;

/// Where the contents are and what they must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentsRef {
    /// Key in the store, the policy's folder included.
    pub key: String,
    /// Bytes of the object.
    pub size: u64,
    /// SHA-256 of the object.
    pub sha256: Checksum,
}

/// How much a backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Parts that it names.
    pub parts: u64,
    /// Those of them that were stored by its own run.
    pub new_parts: u64,
    /// Bytes of all parts' plaintext.
    pub plain_bytes: u64,
    /// Bytes of all parts' objects.
    pub stored_bytes: u64,
    /// Bytes of the objects stored by its own run.
    pub new_stored_bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Objects of the database.
    pub objects: u64,
    /// Tables.
    pub tables: u64,
}

/// `head.json`: the backup exists because this does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Version of the format.
    pub format: u32,
    /// The backup.
    pub backup: BackupId,
    /// The policy.
    pub policy: String,
    /// Identity of the vault.
    pub vault_id: String,
    /// Random, of this write: tells our own lost reply from somebody else's head.
    pub write_id: String,
    /// Generation of the lease under which it was written.
    pub generation: u64,
    /// Program and version.
    pub tool: String,
    /// When the run started.
    pub started_at: Timestamp,
    /// The instant that the backup shows.
    pub consistent_at: Timestamp,
    /// When the head was written: the order of backups.
    pub committed_at: Timestamp,
    /// What the user called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Retention leaves it alone until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_until: Option<Timestamp>,
    /// The table of contents.
    pub contents: ContentsRef,
    /// How much it holds.
    pub counts: Counts,
    /// What was backed up; opaque here.
    pub source: serde_json::Value,
    /// Why the backup is suspicious; empty for a good one.
    #[serde(default)]
    pub anomalies: Vec<String>,
    /// What a person should know of it.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Head {
    /// Parses the head stored under `key`, refusing newer formats and a head that names another backup than its key.
    pub fn parse(key: &Key, bytes: &[u8], backup: &BackupId) -> Result<Self> {
        #[derive(Deserialize)]
        struct Probe {
            format: u32,
        }
        check_format(document::parse::<Probe>(key, bytes)?.format, &format!("'{key}'"))?;
        let head: Self = document::parse(key, bytes)?;
        if head.backup != *backup {
            return Err(Error::integrity(format!("'{key}' is the head of backup {}", head.backup)));
        }
        Ok(head)
    }
}
