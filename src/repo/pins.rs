//! Backups that retention may not touch.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document;
use super::vault::Vault;
use crate::base::ids::BackupId;
use crate::base::{Error, Kind, Result, ResultExt};

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
    match document::find::<Pin>(vault.store.as_ref(), &key).await {
        Ok(None) => return Err(Error::not_found(format!("backup {backup} is not pinned"))),
        // A damaged pin protects too, and must not do so for ever.
        Err(e) if e.kind() != Kind::Integrity => return Err(e),
        _ => {}
    }
    vault.store.delete(&key).await.map_err(Error::from).context(|| format!("delete '{key}'"))
}

/// All pins, in order of backup id. A pin that cannot be read still protects the backup that its key names; its reason says so.
pub async fn all(vault: &Vault) -> Result<Vec<Pin>> {
    let keys = document::keys(vault.store.as_ref(), &vault.layout.pins()).await?;
    let mut pins = Vec::with_capacity(keys.len());
    for (key, pin) in document::read_each::<Pin>(vault.store.as_ref(), keys).await? {
        match (pin, key.name().strip_suffix(".json").and_then(|id| id.parse::<BackupId>().ok())) {
            (Ok(pin), _) => pins.push(pin),
            (Err(error), Some(backup)) => {
                tracing::warn!(%key, %error, "a pin cannot be read; the backup counts as pinned");
                let reason = Some(format!("the pin cannot be read: {error}"));
                pins.push(Pin { backup, reason, at: Timestamp::UNIX_EPOCH, by: "unknown".to_owned() });
            }
            (Err(error), None) => tracing::warn!(%key, %error, "an object among the pins names no backup"),
        }
    }
    Ok(pins)
}
