//! What the store has under `parts/`, in compact form: a writer asks it about every part that it cuts.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::codec::unpack;
use super::contents::{PartRecord, read_parts};
use super::format::Checksum;
use super::head::Head;
use super::listing::Ids;
use super::proofs::{self, Proof};
use super::stored::StoredParts;
use super::vault::Vault;
use crate::base::ids::{BackupId, PartId};
use crate::base::threads::blocking;
use crate::base::{Error, Kind, Result, ResultExt};
use crate::store::StoreError;

/// What is known of a stored part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Bytes of the object, as the store lists it.
    pub stored: u64,
    /// What the newest complete backup recorded of it: bytes and checksum of the object.
    pub recorded: Option<(u64, Checksum)>,
    /// Whether a verification found it damaged, and it still is.
    pub found_damaged: bool,
}

impl Known {
    /// Whether the object cannot be what a complete backup once proved it to be.
    pub fn is_damaged(&self) -> bool {
        self.found_damaged || self.recorded.is_some_and(|(stored, _)| stored != self.stored)
    }
}

/// All stored parts, and what the newest complete backup recorded of its own.
#[derive(Debug, Default)]
pub struct PartIndex {
    stored: StoredParts,
    recorded: HashMap<PartId, (u64, Checksum)>,
    /// Parts that a verification found damaged and that still are.
    damaged: HashSet<PartId>,
}

impl PartIndex {
    /// Lists `parts/` once, and takes checksums from the contents of the newest complete backup.
    pub async fn read(vault: &Vault) -> Result<Self> {
        let (stored, recorded, failed) =
            tokio::try_join!(StoredParts::list(vault), newest_recorded(vault), proofs::failed(vault))?;
        let mut index = Self { stored, recorded, damaged: HashSet::new() };
        index.look_again_at_suspects(vault, failed).await?;
        Ok(index)
    }

    /// Reads each part that a failed verification names, so that a backup does not build on damage that is known.
    async fn look_again_at_suspects(&mut self, vault: &Vault, failed: Vec<Proof>) -> Result<()> {
        let findings = failed.into_iter().flat_map(|p| p.findings);
        let named: BTreeSet<PartId> = findings.filter_map(|f| f.object.parse().ok()).collect();
        for id in named.into_iter().filter(|id| self.stored.position(id).is_some()) {
            let damaged = match vault.store.get(&vault.layout.part(&id)).await {
                Ok(stored) => blocking(move || unpack(&id, &stored, None).map(drop)).await.is_err(),
                Err(StoreError::NotFound(_)) => true,
                Err(e) if matches!(&e, StoreError::Other(e) if e.kind() == Kind::Integrity) => true,
                Err(e) => return Err(Error::from(e)).context(|| format!("look again at part {id}")),
            };
            if damaged {
                self.damaged.insert(id);
            }
        }
        Ok(())
    }

    /// What is known of part `id`; `None` if it is not stored.
    pub fn get(&self, id: &PartId) -> Option<Known> {
        let stored = self.stored.size(id)?;
        Some(Known { stored, recorded: self.recorded.get(id).copied(), found_damaged: self.damaged.contains(id) })
    }

    /// Number of stored parts.
    pub fn len(&self) -> usize {
        self.stored.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }
}

/// What the newest complete backup says of its parts. Without it each reused part's checksum is asked for: slower, and no less right.
async fn newest_recorded(vault: &Vault) -> Result<HashMap<PartId, (u64, Checksum)>> {
    let Some(head) = Ids::read(vault).await?.newest(|_| true, |_| true).await? else { return Ok(HashMap::new()) };
    match read_recorded_parts(vault, &head).await {
        Ok(parts) => Ok(parts.into_iter().map(|part| (part.id, (part.stored, part.sha256))).collect()),
        Err(error) => {
            tracing::warn!(%error, backup = %head.backup, "cannot read the contents of the newest backup");
            Ok(HashMap::new())
        }
    }
}

/// The stored contents of a backup, checked against its head.
pub async fn read_contents_object(vault: &Vault, head: &Head) -> Result<bytes::Bytes> {
    let stored = fetch_contents(vault, head).await?;
    check_contents(head, &stored)?;
    Ok(stored)
}

/// The stored contents of a backup, whatever they are.
pub(super) async fn fetch_contents(vault: &Vault, head: &Head) -> Result<bytes::Bytes> {
    match vault.store.get(&vault.layout.contents(&head.backup)).await {
        Ok(stored) => Ok(stored),
        Err(StoreError::NotFound(_)) => Err(Error::integrity(format!("the contents of backup {} are missing", head.backup))),
        Err(e) => Err(Error::from(e)).context(|| format!("read the contents of backup {}", head.backup)),
    }
}

/// Fails unless the stored contents are those of `head`.
pub(super) fn check_contents(head: &Head, stored: &[u8]) -> Result<()> {
    if stored.len() as u64 == head.contents.size && Checksum::of(stored) == head.contents.sha256 {
        return Ok(());
    }
    Err(Error::integrity(format!("the contents of backup {} are not what its head says: they are damaged", head.backup)))
}

/// Fails unless contents say that they are those of `head`.
pub(super) fn check_owner(head: &Head, backup: &BackupId) -> Result<()> {
    if *backup == head.backup {
        return Ok(());
    }
    Err(Error::integrity(format!("the contents of backup {} belong to backup {backup}", head.backup)))
}

/// The parts that a complete backup names.
pub async fn read_recorded_parts(vault: &Vault, head: &Head) -> Result<Vec<PartRecord>> {
    let stored = read_contents_object(vault, head).await?;
    let (backup, parts) = blocking(move || read_parts(&stored)).await?;
    check_owner(head, &backup)?;
    Ok(parts)
}
