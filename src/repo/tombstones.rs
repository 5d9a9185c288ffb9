//! What is to be deleted, and not before when.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document;
use super::head::Head;
use super::vault::Vault;
use crate::base::Result;
use crate::base::ids::{BackupId, PartId, RunId};

/// Most ids in one parts tombstone.
pub const IDS_PER_TOMBSTONE: usize = 10_000;

/// `tombstones/<backup>.json`: a backup that is not listed any more, and deleted after the grace period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupTombstone {
    /// The backup.
    pub backup: BackupId,
    /// Why it goes.
    pub reasons: Vec<String>,
    /// When it was marked.
    pub marked_at: Timestamp,
    /// When it may be deleted.
    pub sweep_after: Timestamp,
    /// Its head, so that what is deleted stays known until it is gone.
    pub head: Head,
}

/// `tombstones/parts-<id>.json`: parts and contents that interrupted runs left behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartsTombstone {
    /// Its id.
    pub id: RunId,
    /// When they were marked.
    pub marked_at: Timestamp,
    /// When they may be deleted, unless something names them by then.
    pub sweep_after: Timestamp,
    /// Parts.
    pub parts: Vec<PartId>,
    /// Backups of which only contents exist.
    #[serde(default)]
    pub leftover_contents: Vec<BackupId>,
}

/// All tombstones of a vault.
#[derive(Debug, Clone, Default)]
pub struct Tombstones {
    /// Of backups, in order of id.
    pub backups: Vec<BackupTombstone>,
    /// Of unreferenced parts, in order of id.
    pub parts: Vec<PartsTombstone>,
}

impl Tombstones {
    /// Reads all of them.
    pub async fn read(vault: &Vault) -> Result<Self> {
        let keys = document::keys(vault.store.as_ref(), &vault.layout.tombstones()).await?;
        let (parts, backups): (Vec<_>, Vec<_>) =
            keys.into_iter().filter(|k| k.name().strip_suffix(".json").is_some()).partition(|k| k.name().starts_with("parts-"));
        Ok(Self {
            backups: document::read_all(vault.store.as_ref(), backups).await?.into_iter().map(|(_, t)| t).collect(),
            parts: document::read_all(vault.store.as_ref(), parts).await?.into_iter().map(|(_, t)| t).collect(),
        })
    }
}
