//! What the store has under `parts/`, in compact form: a writer asks it about every part that it cuts.

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt;

use super::codec::unpack;
use super::contents::{PartRecord, read_parts};
use super::format::Checksum;
use super::head::Head;
use super::proofs;
use super::vault::Vault;
use crate::base::ids::PartId;
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

/// All stored parts.
#[derive(Debug, Default)]
pub struct PartIndex(HashMap<PartId, Known>);

impl PartIndex {
    /// Lists `parts/` once, and takes checksums from the contents of `newest`.
    pub async fn read(vault: &Vault, newest: Option<&Head>) -> Result<Self> {
        let mut index = Self(
            list_parts(vault)
                .await?
                .into_iter()
                .map(|(id, stored)| (id, Known { stored, recorded: None, found_damaged: false }))
                .collect(),
        );
        if let Some(head) = newest {
            match read_recorded_parts(vault, head).await {
                Ok(parts) => parts.into_iter().for_each(|part| {
                    if let Some(known) = index.0.get_mut(&part.id) {
                        known.recorded = Some((part.stored, part.sha256));
                    }
                }),
                // Without them each reused part's checksum is asked for: slower, and no less right.
                Err(error) => tracing::warn!(%error, backup = %head.backup, "cannot read the contents of the newest backup"),
            }
        }
        index.look_again_at_suspects(vault).await?;
        Ok(index)
    }

    /// Reads each part that a failed verification names, so that a backup does not build on damage that is known.
    async fn look_again_at_suspects(&mut self, vault: &Vault) -> Result<()> {
        let failed = proofs::all(vault).await?.into_iter().filter(|p| !p.passed);
        let named: BTreeSet<PartId> = failed.flat_map(|p| p.findings).filter_map(|f| f.object.parse().ok()).collect();
        for id in named {
            let Some(known) = self.0.get_mut(&id) else { continue };
            known.found_damaged = match vault.store.get(&vault.layout.part(&id)).await {
                Ok(stored) => blocking(move || unpack(&id, &stored, None).map(drop)).await.is_err(),
                Err(StoreError::NotFound(_)) => true,
                Err(e) if matches!(&e, StoreError::Other(e) if e.kind() == Kind::Integrity) => true,
                Err(e) => return Err(Error::from(e)).context(|| format!("look again at part {id}")),
            };
        }
        Ok(())
    }

    /// What is known of part `id`; `None` if it is not stored.
    pub fn get(&self, id: &PartId) -> Option<Known> {
        self.0.get(id).copied()
    }

    /// Number of stored parts.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Every stored part and the size of its object, in order of id.
pub async fn list_parts(vault: &Vault) -> Result<Vec<(PartId, u64)>> {
    vault
        .store
        .list(&vault.layout.parts())
        .try_filter_map(|meta| async move { Ok(vault.layout.part_of(&meta.key).map(|id| (id, meta.size))) })
        .try_collect()
        .await
        .map_err(Error::from)
        .context(|| format!("list the parts of {}", vault.describe()))
}

/// The stored contents of a backup, checked against its head.
pub async fn read_contents_object(vault: &Vault, head: &Head) -> Result<bytes::Bytes> {
    let key = vault.layout.contents(&head.backup);
    let stored = match vault.store.get(&key).await {
        Ok(stored) => stored,
        Err(StoreError::NotFound(_)) => {
            return Err(Error::integrity(format!("the contents of backup {} are missing", head.backup)));
        }
        Err(e) => return Err(Error::from(e)).context(|| format!("read the contents of backup {}", head.backup)),
    };
    if stored.len() as u64 != head.contents.size || Checksum::of(&stored) != head.contents.sha256 {
        return Err(Error::integrity(format!(
            "the contents of backup {} are not what its head says: they are damaged",
            head.backup
        )));
    }
    Ok(stored)
}

/// The parts that a complete backup names.
pub async fn read_recorded_parts(vault: &Vault, head: &Head) -> Result<Vec<PartRecord>> {
    let stored = read_contents_object(vault, head).await?;
    let (backup, parts) = blocking(move || read_parts(&stored)).await?;
    if backup != head.backup {
        return Err(Error::integrity(format!("the contents of backup {} belong to backup {backup}", head.backup)));
    }
    Ok(parts)
}

/// Runs work that takes long on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("a worker thread failed").source(e))?
}
