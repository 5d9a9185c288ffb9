//! Dated records of verifications.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document;
use super::vault::Vault;
use super::verify::Finding;
use crate::base::Result;
use crate::base::ids::BackupId;

/// How deep a verification looked; deeper ones imply the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every object is there with its recorded size and checksum.
    Presence,
    /// Every part was read and is what its name says.
    Content,
    /// The backup was restored and compared with what the source was.
    Restore,
}

impl Level {
    /// Its name in keys, documents and options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Content => "content",
            Self::Restore => "restore",
        }
    }
}

/// `proofs/<backup>/<time>-<level>.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// The backup.
    pub backup: BackupId,
    /// How deep.
    pub level: Level,
    /// When the verification ended.
    pub at: Timestamp,
    /// Whether the backup passed.
    pub passed: bool,
    /// How long it took.
    pub seconds: f64,
    /// Program and version.
    pub tool: String,
    /// What was found, damage first.
    pub findings: Vec<Finding>,
    /// What else the verifier measured; opaque here.
    #[serde(default)]
    pub details: serde_json::Value,
}

/// Writes a proof.
pub async fn record(vault: &Vault, proof: &Proof) -> Result<()> {
    document::overwrite(vault.store.as_ref(), &vault.layout.proof(&proof.backup, proof.at, proof.level.name()), proof).await
}

/// All proofs of one backup, oldest first.
pub async fn of(vault: &Vault, backup: &BackupId) -> Result<Vec<Proof>> {
    read(vault, &vault.layout.proofs_of(backup)).await
}

/// All proofs of the vault: by backup, oldest first.
pub async fn all(vault: &Vault) -> Result<Vec<Proof>> {
    read(vault, &vault.layout.proofs()).await
}

/// A proof that cannot be read proves nothing and hides no other.
async fn read(vault: &Vault, prefix: &str) -> Result<Vec<Proof>> {
    let keys = document::keys(vault.store.as_ref(), prefix).await?;
    let mut proofs: Vec<Proof> = Vec::with_capacity(keys.len());
    for (key, proof) in document::read_each(vault.store.as_ref(), keys).await? {
        match proof {
            Ok(proof) => proofs.push(proof),
            Err(error) => tracing::warn!(%key, %error, "a proof cannot be read and is left out"),
        }
    }
    // Keys count seconds.
    proofs.sort_by(|a, b| (&a.backup, a.at).cmp(&(&b.backup, b.at)));
    Ok(proofs)
}
