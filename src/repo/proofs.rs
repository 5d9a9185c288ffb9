//! Dated records of verifications.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document;
use super::vault::Vault;
use super::verify::Finding;
use crate::base::Result;
use crate::base::ids::BackupId;
use crate::store::Key;

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

    fn named(name: &str) -> Option<Self> {
        [Self::Presence, Self::Content, Self::Restore].into_iter().find(|level| level.name() == name)
    }
}

/// `proofs/<backup>/<time>-<level>-<verdict>.json`.
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

/// What a verification came to. Its proof's key says all of it: thousands cost one request each thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// How deep it looked.
    pub level: Level,
    /// When it ended.
    pub at: Timestamp,
    /// Whether the backup passed.
    pub passed: bool,
}

/// Writes a proof.
pub async fn record(vault: &Vault, proof: &Proof) -> Result<()> {
    let key = vault.layout.proof(&proof.backup, proof.at, proof.level.name(), proof.passed);
    document::overwrite(vault.store.as_ref(), &key, proof).await
}

/// All proofs of one backup, oldest first.
pub async fn of(vault: &Vault, backup: &BackupId) -> Result<Vec<Proof>> {
    let keys = document::keys(vault.store.as_ref(), &vault.layout.proofs_of(backup)).await?;
    read(vault, keys).await
}

/// All proofs of the vault: by backup, oldest first. One request each; [`verdicts`] reads none.
pub async fn all(vault: &Vault) -> Result<Vec<Proof>> {
    let keys = document::keys(vault.store.as_ref(), &vault.layout.proofs()).await?;
    read(vault, keys).await
}

/// All proofs of the vault that say that a backup is damaged: by backup, oldest first.
pub async fn failed(vault: &Vault) -> Result<Vec<Proof>> {
    let mut keys = document::keys(vault.store.as_ref(), &vault.layout.proofs()).await?;
    keys.retain(|key| vault.layout.proof_of(key).is_some_and(|said| said.passed != Some(true)));
    let mut proofs = read(vault, keys).await?;
    proofs.retain(|proof| !proof.passed);
    Ok(proofs)
}

/// What the proofs of the vault say, oldest first for each backup.
pub async fn verdicts(vault: &Vault) -> Result<HashMap<BackupId, Vec<Verdict>>> {
    let mut said: HashMap<BackupId, Vec<Verdict>> = HashMap::new();
    let mut silent = Vec::new();
    for key in document::keys(vault.store.as_ref(), &vault.layout.proofs()).await? {
        let Some(found) = vault.layout.proof_of(&key) else { continue };
        match (Level::named(&found.level), found.passed) {
            (Some(level), Some(passed)) => said.entry(found.backup).or_default().push(Verdict { level, at: found.at, passed }),
            _ => silent.push(key),
        }
    }
    for proof in read(vault, silent).await? {
        let verdict = Verdict { level: proof.level, at: proof.at, passed: proof.passed };
        said.entry(proof.backup).or_default().push(verdict);
    }
    for verdicts in said.values_mut() {
        verdicts.sort_by_key(|v| v.at);
    }
    Ok(said)
}

/// A proof that cannot be read proves nothing and hides no other.
async fn read(vault: &Vault, keys: Vec<Key>) -> Result<Vec<Proof>> {
    let mut proofs: Vec<Proof> = Vec::with_capacity(keys.len());
    for (key, proof) in document::read_each(vault.store.as_ref(), keys).await? {
        match proof {
            Ok(proof) => proofs.push(proof),
            Err(error) => tracing::warn!(%key, %error, "a proof cannot be read and is left out"),
        }
    }
    proofs.sort_by(|a, b| (&a.backup, a.at).cmp(&(&b.backup, b.at)));
    Ok(proofs)
}
