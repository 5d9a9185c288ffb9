//! Backups that retention may not touch.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document;
use super::vault::Vault;
use crate::base::ids::BackupId;
use crate::base::{Error, Result, ResultExt};

/// `pins/<backup>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The backup.
    pub backup: BackupId,
    /// Why, if somebody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when.
    pub at: Timestamp,
    /// By whom: `user@host`.
    pub by: String,
}

/// Pins a backup, or changes the reason of its pin. The caller has made sure that the backup is listed.
pub async fn pin(vault: &Vault, backup: &BackupId, reason: Option<&str>, by: &str) -> Result<Pin> {
    let pin = Pin { backup: backup.clone(), reason: reason.map(str::to_owned), at: vault.clock.now(), by: by.to_owned() };
    document::overwrite(vault.store.as_ref(), &vault.layout.pin(backup), &pin).await?;
    Ok(pin)
}

/// Removes a pin; an error of kind `NotFound` when there is none.
pub async fn unpin(vault: &Vault, backup: &BackupId) -> Result<()> {
    let key = vault.layout.pin(backup);
    if document::find::<Pin>(vault.store.as_ref(), &key).await?.is_none() {
        return Err(Error::not_found(format!("backup {backup} is not pinned")));
    }
    vault.store.delete(&key).await.map_err(Error::from).context(|| format!("delete '{key}'"))
}

/// All pins, in order of backup id.
pub async fn all(vault: &Vault) -> Result<Vec<Pin>> {
    let keys = document::keys(vault.store.as_ref(), &vault.layout.pins()).await?;
    Ok(document::read_all(vault.store.as_ref(), keys).await?.into_iter().map(|(_, pin)| pin).collect())
}
