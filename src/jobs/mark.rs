//! The reader mark of a restore or verification, as far as the store lets us write one.

use crate::base::ids::{BackupId, RunId};
use crate::base::{Kind, Result};
use crate::repo::Vault;
use crate::repo::lease::Owner;
use crate::repo::readers::Reading;

/// Protects a backup from prunes while it is read. In a disaster the store may be full, mounted read-only, or its key may only read: none of that
/// may stand in the way of a restore, so a refused mark is a warning.
#[derive(Debug)]
pub struct Mark(Option<Reading>);

impl Mark {
    /// Writes the mark and keeps it alive.
    pub async fn begin(vault: &Vault, run: &RunId, backup: &BackupId, purpose: &str, owner: Owner) -> Result<Self> {
        match Reading::begin(vault, run, backup, purpose, owner).await {
            Ok(reading) => Ok(Self(Some(reading.keep()))),
            Err(error) if error.kind() == Kind::Denied => {
                tracing::warn!(%error, "the backup cannot be marked as being read: let no prune run meanwhile");
                Ok(Self(None))
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the mark; one that stays expires by itself.
    pub async fn end(self) {
        if let Some(reading) = self.0
            && let Err(error) = reading.finish().await
        {
            tracing::warn!(%error, "the mark of this reader could not be removed; it expires by itself");
        }
    }
}
