//! What names each stored part: a byte a part, filled from the contents of all backups, a few of them in memory at a time.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use super::contents::for_each_part_id;
use super::head::Head;
use super::index::{check_contents, check_owner, fetch_contents};
use super::stored::StoredParts;
use super::tombstones::BackupTombstone;
use super::vault::Vault;
use crate::base::ids::{BackupId, PartId};
use crate::base::limits::{CONTENTS_BYTES, STORE_CONCURRENCY, processors};
use crate::base::threads::blocking;
use crate::base::{Error, Kind, Result, ResultExt};
use crate::store::StoreError;

/// What the strongest claim to a part is, the strongest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reference {
    /// Nothing names it.
    None,
    /// A parts tombstone that is not due.
    Early,
    /// A parts tombstone that is due.
    Due,
    /// A backup that is swept.
    Dying,
    /// A backup that stays.
    Live,
}

/// The stored parts and what names them.
#[derive(Debug)]
pub(super) struct References {
    vault: Vault,
    stored: Arc<StoredParts>,
    claims: Vec<Reference>,
}

/// Bounds what reading contents takes: their bytes, and the processors that look into them.
struct Bounds {
    bytes: Semaphore,
    processors: Semaphore,
}

impl References {
    pub(super) fn new(vault: &Vault, stored: StoredParts) -> Self {
        let claims = vec![Reference::None; stored.len()];
        Self { vault: vault.clone(), stored: Arc::new(stored), claims }
    }

    /// Each stored part, the bytes of its object, and the strongest claim to it; in order of id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PartId, u64, Reference)> {
        self.stored.iter().zip(&self.claims).map(|((id, bytes), claim)| (id, bytes, *claim))
    }

    /// Adds a claim to these parts.
    pub(super) fn mark<'a>(&mut self, ids: impl Iterator<Item = &'a PartId>, claim: Reference) {
        let numbers: Vec<u32> = ids.filter_map(|id| self.stored.position(id)).map(|at| at as u32).collect();
        self.claim(&numbers, claim);
    }

    fn claim(&mut self, numbers: &[u32], claim: Reference) {
        for number in numbers {
            let held = &mut self.claims[*number as usize];
            *held = claim.max(*held);
        }
    }

    /// What complete backups name.
    pub(super) async fn add_live<'a>(&mut self, heads: impl Iterator<Item = &'a Head>) -> Result<()> {
        let bounds = Bounds { bytes: Semaphore::new(CONTENTS_BYTES), processors: Semaphore::new(processors()) };
        let (vault, stored) = (self.vault.clone(), Arc::clone(&self.stored));
        let reads = heads.map(|head| named(&vault, &stored, head, &bounds));
        let mut reads = futures::stream::iter(reads).buffer_unordered(STORE_CONCURRENCY);
        while let Some(numbers) =
            reads.try_next().await.context(|| "nothing is removed while it is unknown what each backup needs")?
        {
            self.claim(&numbers, Reference::Live);
        }
        Ok(())
    }

    /// What backups name whose head may still arrive. Without contents the backup was withdrawn.
    pub(super) async fn add_pending(&mut self, pending: &[BackupId]) -> Result<()> {
        for backup in pending {
            match self.vault.store.get(&self.vault.layout.contents(backup)).await {
                Ok(contents) => {
                    let stored = Arc::clone(&self.stored);
                    let (_, numbers) = blocking(move || numbers(&stored, &contents)).await?;
                    self.claim(&numbers, Reference::Live);
                }
                Err(StoreError::NotFound(_)) => {}
                Err(e) => return Err(Error::from(e)).context(|| format!("read the contents of backup {backup}")),
            }
        }
        Ok(())
    }

    /// What swept backups name. Contents that are gone or damaged name nothing; their parts are found as unreferenced later.
    pub(super) async fn add_dying(&mut self, sweep: &[BackupTombstone]) -> Result<()> {
        let bounds = Bounds { bytes: Semaphore::new(CONTENTS_BYTES), processors: Semaphore::new(processors()) };
        let (vault, stored) = (self.vault.clone(), Arc::clone(&self.stored));
        let reads = sweep.iter().map(|tombstone| async {
            match named(&vault, &stored, &tombstone.head, &bounds).await {
                Err(e) if e.kind() == Kind::Integrity => {
                    tracing::debug!(backup = %tombstone.backup, error = %e, "sweeping a backup without contents");
                    Ok(Vec::new())
                }
                other => other,
            }
        });
        let mut reads = futures::stream::iter(reads).buffer_unordered(STORE_CONCURRENCY);
        while let Some(numbers) = reads.try_next().await? {
            self.claim(&numbers, Reference::Dying);
        }
        Ok(())
    }
}

/// The numbers of the stored parts that a complete backup names.
async fn named(vault: &Vault, stored: &Arc<StoredParts>, head: &Head, bounds: &Bounds) -> Result<Vec<u32>> {
    let closed = |e| Error::internal("a bound of a prune is closed").source(e);
    let size = usize::try_from(head.contents.size).unwrap_or(CONTENTS_BYTES).clamp(1, CONTENTS_BYTES);
    let _bytes = bounds.bytes.acquire_many(size as u32).await.map_err(closed)?;
    let contents = fetch_contents(vault, head).await?;
    let _processor = bounds.processors.acquire().await.map_err(closed)?;
    let (stored, head) = (Arc::clone(stored), head.clone());
    blocking(move || {
        check_contents(&head, &contents)?;
        let (backup, numbers) = numbers(&stored, &contents)?;
        check_owner(&head, &backup).map(|()| numbers)
    })
    .await
}

fn numbers(stored: &StoredParts, contents: &[u8]) -> Result<(BackupId, Vec<u32>)> {
    let mut numbers = Vec::new();
    let backup = for_each_part_id(contents, |id| numbers.extend(stored.position(id).map(|at| at as u32)))?;
    Ok((backup, numbers))
}
