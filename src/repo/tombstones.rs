//! What is to be deleted, and not before when.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document;
use super::head::Head;
use super::vault::Vault;
use crate::base::ids::{BackupId, PartId, RunId};
use crate::base::{Error, Result};
use crate::store::Key;

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
#[derive(Debug, Default)]
pub struct Tombstones {
    /// Of backups, in order of id.
    pub backups: Vec<BackupTombstone>,
    /// Of unreferenced parts, in order of id.
    pub parts: Vec<PartsTombstone>,
    /// Backups whose tombstones cannot be read, and why, in order of id.
    pub damaged: Vec<(BackupId, Error)>,
    /// Keys of unreadable tombstones that name no backup, and why, in order of key.
    pub unreadable: Vec<(Key, Error)>,
}

/// The backups that are marked, by the keys of their tombstones alone.
pub async fn marked(vault: &Vault) -> Result<HashSet<BackupId>> {
    let keys = document::keys(vault.store.as_ref(), &vault.layout.tombstones()).await?;
    Ok(keys.iter().filter_map(|key| key.name().strip_suffix(".json")?.parse().ok()).collect())
}

impl Tombstones {
    /// Reads all of them. Fails only if the store does; what is damaged comes apart.
    pub async fn read(vault: &Vault) -> Result<Self> {
        let store = vault.store.as_ref();
        let keys = document::keys(store, &vault.layout.tombstones()).await?;
        let (parts, backups): (Vec<_>, Vec<_>) =
            keys.into_iter().filter(|k| k.name().strip_suffix(".json").is_some()).partition(|k| k.name().starts_with("parts-"));
        let mut all = Self::default();
        for (key, tombstone) in document::read_each(store, backups).await? {
            match (tombstone, key.name().strip_suffix(".json").and_then(|id| id.parse().ok())) {
                (Ok(tombstone), _) => all.backups.push(tombstone),
                (Err(error), Some(backup)) => all.damaged.push((backup, error)),
                (Err(error), None) => all.unreadable.push((key, error)),
            }
        }
        for (key, tombstone) in document::read_each(store, parts).await? {
            match tombstone {
                Ok(tombstone) => all.parts.push(tombstone),
                Err(error) => all.unreadable.push((key, error)),
            }
        }
        Ok(all)
    }
}
