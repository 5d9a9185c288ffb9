//! Applies a plan of [`super::gc`]: marks what is dropped, deletes what was marked long enough ago.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document;
use super::gc::{Amount, Drop, Facts, PrunePlan, Waiting, Work, work};
use super::head::Head;
use super::lease::{Lease, Purpose};
use super::readers;
use super::tombstones::{BackupTombstone, IDS_PER_TOMBSTONE, PartsTombstone};
use super::vault::Vault;
use crate::base::clock::add;
use crate::base::ids::{BackupId, PartId, RunId};
use crate::base::limits::STORE_CONCURRENCY;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result, ResultExt};
use crate::store::{Key, PutMode, StoreError};

/// A delete is sent only while the lease has this much left.
const LEFT: Duration = Duration::from_secs(10);

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Backups that are not listed any more, and whole until their sweep.
    pub marked: Vec<BackupId>,
    /// Backups that are gone.
    pub swept: Vec<BackupId>,
    /// Backups that are gone but for what they own outside of the store: their tombstones stay, and the next prune tries again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Waiting>,
    /// Parts that are gone.
    pub parts: Amount,
    /// Parts marked as unreferenced.
    pub unreferenced: Amount,
}

/// What backups own outside of the store. It is deleted when they are swept: after the head, so that no listed backup lacks anything, and before the
/// tombstone, so that what is left is known until it is gone.
#[async_trait]
pub trait Outside: Send + Sync + std::fmt::Debug {
    /// Deletes what the backup of `head` owns; what is gone already is fine. `Ok(Some(why))`: something cannot be deleted yet.
    async fn release(&self, head: &Head) -> Result<Option<String>>;
}

/// Backups own nothing outside.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

#[async_trait]
impl Outside for Nothing {
    async fn release(&self, _head: &Head) -> Result<Option<String>> {
        Ok(None)
    }
}

/// Applies `plan` under a lease of purpose `Sweep` that the caller keeps renewed. Fails with kind `Conflict`, having done nothing, when the vault is not what
/// the plan was made for. Interrupted, it leaves every listed backup whole, and the next prune goes on.
pub async fn apply(vault: &Vault, lease: &Arc<Lease>, plan: &PrunePlan, shutdown: &Shutdown) -> Result<Pruned> {
    lease.check()?;
    apply_to(vault, lease, plan, Facts::read(vault).await?, &Nothing, shutdown).await
}

/// [`apply`] where `facts` were read under the same lease, and where backups own something `outside`.
pub async fn apply_to(
    vault: &Vault,
    lease: &Arc<Lease>,
    plan: &PrunePlan,
    facts: Facts,
    outside: &dyn Outside,
    shutdown: &Shutdown,
) -> Result<Pruned> {
    if lease.purpose() != Purpose::Sweep {
        return Err(Error::internal("a prune needs a lease of purpose sweep"));
    }
    lease.check()?;
    let grace = Duration::from_secs(plan.grace_seconds);
    let again = work(vault, facts, &plan.mark, grace, plan.made_at, &lease.pending().await).await?;
    if again.plan.vault_id != plan.vault_id || again.plan.digest != plan.digest {
        return Err(Error::conflict(format!("{} has changed since the plan was made; nothing was removed", vault.describe()))
            .hint("make the plan again"));
    }
    vault.reach("prune:planned")?;
    let sweeper = Sweeper { vault, lease, outside, shutdown };
    sweeper.mark_backups(&again).await?;
    vault.reach("prune:marked")?;
    sweeper.mark_parts(&again).await?;
    vault.reach("prune:parts-marked")?;
    let held = sweeper.sweep(&again).await?;
    let parts = Amount {
        count: plan.freed.count + plan.swept_unreferenced.count,
        bytes: plan.freed.bytes + plan.swept_unreferenced.bytes,
    };
    Ok(Pruned {
        marked: again.plan.mark.into_iter().map(|d| d.backup).collect(),
        swept: again.plan.sweep.into_iter().filter(|b| held.iter().all(|h| h.backup != *b)).collect(),
        held,
        parts,
        unreferenced: plan.unreferenced,
    })
}

struct Sweeper<'a> {
    vault: &'a Vault,
    lease: &'a Arc<Lease>,
    outside: &'a dyn Outside,
    shutdown: &'a Shutdown,
}

impl Sweeper<'_> {
    async fn mark_backups(&self, work: &Work) -> Result<()> {
        let now = self.vault.clock.now();
        futures::stream::iter(work.plan.mark.iter().map(Ok))
            .try_for_each_concurrent(STORE_CONCURRENCY, |drop| self.mark_backup(work, drop, now))
            .await
    }

    async fn mark_backup(&self, work: &Work, drop: &Drop, now: Timestamp) -> Result<()> {
        let Some(head) = work.heads.get(&drop.backup) else {
            return Err(Error::internal(format!("backup {} is planned without a head", drop.backup)));
        };
        let tombstone = BackupTombstone {
            backup: drop.backup.clone(),
            reasons: drop.reasons.clone(),
            marked_at: now,
            sweep_after: add(now, Duration::from_secs(work.plan.grace_seconds)),
            head: head.clone(),
        };
        if self.create(&self.vault.layout.tombstone(&drop.backup), &tombstone).await? {
            return Ok(());
        }
        Err(Error::conflict(format!("backup {} is marked already", drop.backup)).hint("make the plan again"))
    }

    async fn mark_parts(&self, work: &Work) -> Result<()> {
        let now = self.vault.clock.now();
        let mut leftovers = work.plan.leftovers.clone();
        let mut chunks: Vec<&[PartId]> = work.mark_parts.chunks(IDS_PER_TOMBSTONE).collect();
        if chunks.is_empty() && !leftovers.is_empty() {
            chunks.push(&[]);
        }
        for parts in chunks {
            let mut tombstone = PartsTombstone {
                id: RunId::generate(now),
                marked_at: now,
                sweep_after: add(now, Duration::from_secs(work.plan.grace_seconds)),
                parts: parts.to_vec(),
                leftover_contents: std::mem::take(&mut leftovers),
            };
            // Ids of one second may collide.
            while !self.create(&self.vault.layout.parts_tombstone(&tombstone.id), &tombstone).await? {
                tombstone.id = RunId::generate(self.vault.clock.now());
            }
        }
        Ok(())
    }

    /// Whether the key was free.
    async fn create<T: Serialize>(&self, key: &Key, value: &T) -> Result<bool> {
        self.may_go_on()?;
        match document::put(self.vault.store.as_ref(), key, value, PutMode::Create).await {
            Ok(_) => Ok(true),
            Err(StoreError::AlreadyExists(_)) => Ok(false),
            Err(e) => Err(Error::from(e)).context(|| format!("write '{key}'")),
        }
    }

    /// Heads, what is outside, contents, parts, tombstones: wherever it stops, no head lacks anything and the tombstone is still there to go on
    /// from. Returns the backups that still own something outside.
    async fn sweep(&self, work: &Work) -> Result<Vec<Waiting>> {
        let layout = &self.vault.layout;
        self.still_unread(work).await?;
        self.delete(work.sweep.iter().map(|t| layout.head(&t.backup))).await?;
        self.vault.reach("sweep:heads-deleted")?;
        let (released, held, failure) = self.release(work).await?;
        self.vault.reach("sweep:outside-deleted")?;
        let contents = released.iter().map(|t| &t.backup).chain(&work.swept_leftovers);
        self.delete(contents.map(|b| layout.contents(b))).await?;
        self.vault.reach("sweep:contents-deleted")?;
        self.delete(work.freed.iter().chain(&work.swept_parts).map(|id| layout.part(id))).await?;
        self.vault.reach("sweep:parts-deleted")?;
        futures::stream::iter(released.iter().map(Ok))
            .try_for_each_concurrent(STORE_CONCURRENCY, |tombstone| async {
                let proofs = document::keys(self.vault.store.as_ref(), &layout.proofs_of(&tombstone.backup)).await?;
                self.delete(proofs.into_iter()).await
            })
            .await?;
        let backups = released.iter().map(|t| layout.tombstone(&t.backup));
        self.delete(backups.chain(work.parts_tombstones.iter().map(|t| layout.parts_tombstone(&t.id)))).await?;
        self.vault.reach("sweep:tombstones-deleted")?;
        self.forget_readers().await?;
        failure.map_or(Ok(held), Err)
    }

    /// Deletes what is outside of the store, backup by backup. One that fails keeps its tombstone and does not keep the others from going; the first
    /// failure is the sweep's.
    async fn release<'w>(&self, work: &'w Work) -> Result<(Vec<&'w BackupTombstone>, Vec<Waiting>, Option<Error>)> {
        let (mut released, mut held, mut failure) = (Vec::new(), Vec::new(), None);
        for tombstone in &work.sweep {
            self.may_go_on()?;
            match self.outside.release(&tombstone.head).await {
                Ok(None) => released.push(tombstone),
                Ok(Some(reason)) => held.push(Waiting { backup: tombstone.backup.clone(), reason }),
                Err(error) => {
                    let error = error.context(format!("sweep backup {}", tombstone.backup));
                    tracing::warn!(%error, "the tombstone stays; the next prune tries again");
                    failure.get_or_insert(error);
                }
            }
        }
        Ok((released, held, failure))
    }

    /// Marks need no lease: one may have come since the plan was checked.
    async fn still_unread(&self, work: &Work) -> Result<()> {
        let now = self.vault.clock.now();
        let marks = readers::all(self.vault).await?;
        match marks.iter().find(|m| m.expires_at > now && work.sweep.iter().any(|t| t.backup == m.backup)) {
            Some(mark) => Err(Error::conflict(format!("{} began to read backup {}; it is not deleted", mark.owner, mark.backup))
                .hint("make the plan again")),
            None => Ok(()),
        }
    }

    /// Marks of readers that were killed.
    async fn forget_readers(&self) -> Result<()> {
        let now = self.vault.clock.now();
        let old = readers::all(self.vault).await?.into_iter().filter(|m| m.expires_at <= now);
        self.delete(old.map(|m| self.vault.layout.reader(&m.id))).await
    }

    async fn delete(&self, keys: impl Iterator<Item = Key>) -> Result<()> {
        futures::stream::iter(keys.map(Ok))
            .try_for_each_concurrent(STORE_CONCURRENCY, |key| async move {
                self.may_go_on()?;
                self.vault.store.delete(&key).await.map_err(Error::from).context(|| format!("delete '{key}'"))
            })
            .await
    }

    fn may_go_on(&self) -> Result<()> {
        self.shutdown.check()?;
        self.lease.check_left(LEFT)
    }
}
