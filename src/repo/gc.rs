//! What a prune would do: the plan. [`super::sweep`] applies it.
//!
//! Planning reads the contents of every backup that stays, so that nothing they name is ever on a list to delete. What cannot be read
//! stops the plan: it might name anything.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document;
use super::format::Checksum;
use super::head::Head;
use super::lease::{self, Lease};
use super::listing::Listing;
use super::pins::{self, Pin};
use super::readers::{self, ReaderMark};
use super::references::{Reference, References};
use super::stored::StoredParts;
use super::tombstones::{BackupTombstone, PartsTombstone};
use super::vault::Vault;
use crate::base::ids::{BackupId, PartId};
use crate::base::{Error, Result, ResultExt};
use crate::store::StoreError;

/// A backup that retention drops, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// The backup.
    pub backup: BackupId,
    /// Why it goes.
    pub reasons: Vec<String>,
}

/// A marked backup that is not swept yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The backup.
    pub backup: BackupId,
    /// What it waits for.
    pub reason: String,
}

/// A number of objects and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Objects.
    pub count: u64,
    /// Bytes of the objects.
    pub bytes: u64,
}

/// What a prune will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunePlan {
    /// The vault.
    pub vault_id: String,
    /// When the plan was made; what is due is decided by this time, also when it is applied later.
    pub made_at: Timestamp,
    /// Time between marking and sweeping, in seconds.
    pub grace_seconds: u64,
    /// Listed backups, oldest first.
    pub listed: Vec<BackupId>,
    /// Those of them that are marked now.
    pub mark: Vec<Drop>,
    /// Marked backups that are deleted now.
    pub sweep: Vec<BackupId>,
    /// Marked backups that wait.
    pub waiting: Vec<Waiting>,
    /// Parts that only the swept backups name.
    pub freed: Amount,
    /// Parts that nothing names, marked now.
    pub unreferenced: Amount,
    /// Contents without head, marked now.
    pub leftovers: Vec<BackupId>,
    /// Parts marked earlier that still nothing names, deleted now.
    pub swept_unreferenced: Amount,
    /// Parts tombstones that are done with.
    pub parts_tombstones: Vec<String>,
    /// SHA-256 over all of the above and the ids behind the amounts: two plans that do the same are equal in it.
    pub digest: String,
}

impl PrunePlan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.mark.is_empty()
            && self.sweep.is_empty()
            && self.unreferenced.count == 0
            && self.leftovers.is_empty()
            && self.swept_unreferenced.count == 0
            && self.parts_tombstones.is_empty()
    }
}

/// The plan and the ids behind it.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) plan: PrunePlan,
    pub(super) heads: BTreeMap<BackupId, Head>,
    pub(super) sweep: Vec<BackupTombstone>,
    /// Parts to delete with the swept backups.
    pub(super) freed: Vec<PartId>,
    /// Parts to mark.
    pub(super) mark_parts: Vec<PartId>,
    /// Parts of due parts tombstones to delete.
    pub(super) swept_parts: Vec<PartId>,
    /// Contents of due parts tombstones to delete.
    pub(super) swept_leftovers: Vec<BackupId>,
    pub(super) parts_tombstones: Vec<PartsTombstone>,
}

/// Plans to mark `drop` and to sweep what is due. Reads only; a backup that runs beside it may make the plan stale, which [`super::sweep::apply`] notices.
pub async fn plan(vault: &Vault, drop: &[Drop], grace: Duration) -> Result<PrunePlan> {
    plan_from(vault, Facts::read(vault).await?, drop, grace).await
}

/// [`plan`] of what was read already.
pub async fn plan_from(vault: &Vault, facts: Facts, drop: &[Drop], grace: Duration) -> Result<PrunePlan> {
    let pending = facts.pending.clone();
    let work = work(vault, facts, drop, grace, vault.clock.now(), &pending).await?;
    Ok(work.plan)
}

/// What the vault holds that matters for a plan.
#[derive(Debug)]
pub struct Facts {
    /// Backups whose heads may be on their way.
    pending: Vec<BackupId>,
    stored: StoredParts,
    /// All backups.
    pub listing: Listing,
    /// All pins.
    pub pins: Vec<Pin>,
    marks: Vec<ReaderMark>,
}

impl Facts {
    /// Reads all but the contents. Announcements come first, then parts, then heads: what a backup beside us commits meanwhile is not taken for
    /// unreferenced.
    pub async fn read(vault: &Vault) -> Result<Self> {
        let pending = lease::pending(vault).await?;
        let stored = StoredParts::list(vault).await?;
        let (listing, pins, marks) = tokio::try_join!(Listing::read(vault), pins::all(vault), readers::all(vault))?;
        Ok(Self { pending, stored, listing, pins, marks })
    }

    fn pinned(&self) -> HashSet<&BackupId> {
        self.pins.iter().map(|p| &p.backup).collect()
    }
}

pub(super) async fn work(
    vault: &Vault,
    facts: Facts,
    drop: &[Drop],
    grace: Duration,
    now: Timestamp,
    pending: &[BackupId],
) -> Result<Work> {
    refuse_unsafe(&facts, drop)?;
    let (sweep, waiting) = due(&facts, now);
    let Facts { stored, listing, .. } = facts;
    let sweeping: HashSet<&BackupId> = sweep.iter().map(|t| &t.backup).collect();
    let keep = listing.backups.iter().chain(listing.marked.iter().map(|t| &t.head)).filter(|h| !sweeping.contains(&h.backup));
    let mut references = References::new(vault, stored);
    references.add_live(keep).await?;
    references.add_pending(pending).await?;
    references.add_dying(&sweep).await?;
    Ok(assemble(vault, listing, references, Decided { drop, grace, now, pending, sweep, waiting }))
}

fn refuse_unsafe(facts: &Facts, drop: &[Drop]) -> Result<()> {
    if let Some(damaged) = facts.listing.damaged.first() {
        return Err(Error::integrity(format!(
            "the head or tombstone of backup {} cannot be read: {}",
            damaged.backup,
            damaged.error.full_message()
        ))
        .hint("nothing is removed while it is unknown what this backup needs; `pgkeep verify` tells more"));
    }
    if let Some((key, error)) = facts.listing.unreadable_tombstones.first() {
        return Err(Error::integrity(format!("the tombstone '{key}' cannot be read: {}", error.full_message()))
            .hint("nothing is removed while it is unknown what was marked; delete this object to have its parts marked anew"));
    }
    let pinned = facts.pinned();
    for d in drop {
        if !facts.listing.backups.iter().any(|h| h.backup == d.backup) {
            return Err(
                Error::conflict(format!("backup {} is to be removed but is not listed", d.backup)).hint("make the plan again")
            );
        }
        if pinned.contains(&d.backup) {
            return Err(
                Error::conflict(format!("backup {} is to be removed but is pinned", d.backup)).hint("make the plan again")
            );
        }
    }
    let dropped: BTreeSet<&BackupId> = drop.iter().map(|d| &d.backup).collect();
    if !drop.is_empty() && dropped.len() == facts.listing.backups.len() {
        return Err(Error::conflict("the plan would remove every backup").hint("at least one backup always stays"));
    }
    Ok(())
}

/// Which marked backups are swept, and what the others wait for.
fn due(facts: &Facts, now: Timestamp) -> (Vec<BackupTombstone>, Vec<Waiting>) {
    let (mut sweep, mut waiting, pinned) = (Vec::new(), Vec::new(), facts.pinned());
    for tombstone in facts.listing.marked.iter().chain(&facts.listing.half_swept) {
        let backup = &tombstone.backup;
        let reader = facts.marks.iter().find(|m| m.backup == *backup && m.expires_at > now);
        let reason = if tombstone.sweep_after > now {
            format!("`undelete` works until {}", tombstone.sweep_after)
        } else if let Some(reader) = reader {
            format!("{} reads it", reader.owner)
        } else if pinned.contains(backup) {
            "it is pinned".to_owned()
        } else {
            sweep.push(tombstone.clone());
            continue;
        };
        waiting.push(Waiting { backup: backup.clone(), reason });
    }
    (sweep, waiting)
}

struct Decided<'a> {
    drop: &'a [Drop],
    grace: Duration,
    now: Timestamp,
    pending: &'a [BackupId],
    sweep: Vec<BackupTombstone>,
    waiting: Vec<Waiting>,
}

fn assemble(vault: &Vault, listing: Listing, mut references: References, decided: Decided<'_>) -> Work {
    let Decided { drop, grace, now, pending, sweep, waiting } = decided;
    let (due, early): (Vec<_>, Vec<_>) = listing.parts_tombstones.into_iter().partition(|t| t.sweep_after <= now);
    references.mark(due.iter().flat_map(|t| &t.parts), Reference::Due);
    references.mark(early.iter().flat_map(|t| &t.parts), Reference::Early);
    let (mut freed, mut marked, mut swept) = (Vec::new(), Vec::new(), Vec::new());
    let (mut freed_sum, mut marked_sum, mut swept_sum) = (Amount::default(), Amount::default(), Amount::default());
    for (id, bytes, reference) in references.iter() {
        let (list, sum) = match reference {
            Reference::Live | Reference::Early => continue,
            Reference::Dying => (&mut freed, &mut freed_sum),
            Reference::Due => (&mut swept, &mut swept_sum),
            Reference::None => (&mut marked, &mut marked_sum),
        };
        list.push(id);
        sum.count += 1;
        sum.bytes += bytes;
    }
    let without_head: BTreeSet<BackupId> = listing.leftovers.into_iter().filter(|b| !pending.contains(b)).collect();
    let named = |list: &[PartsTombstone]| list.iter().flat_map(|t| t.leftover_contents.clone()).collect::<BTreeSet<_>>();
    let (due_leftovers, early_leftovers) = (named(&due), named(&early));
    let swept_leftovers: Vec<BackupId> = without_head.intersection(&due_leftovers).cloned().collect();
    let leftovers: Vec<BackupId> =
        without_head.into_iter().filter(|b| !due_leftovers.contains(b) && !early_leftovers.contains(b)).collect();

    let mut plan = PrunePlan {
        vault_id: vault.info.vault_id.clone(),
        made_at: now,
        grace_seconds: grace.as_secs(),
        listed: listing.backups.iter().map(|h| h.backup.clone()).collect(),
        mark: drop.to_vec(),
        sweep: sweep.iter().map(|t| t.backup.clone()).collect(),
        waiting,
        freed: freed_sum,
        unreferenced: marked_sum,
        leftovers,
        swept_unreferenced: swept_sum,
        parts_tombstones: due.iter().map(|t| t.id.to_string()).collect(),
        digest: String::new(),
    };
    plan.digest = digest(&plan, [&freed, &marked, &swept], &swept_leftovers);
    let heads = listing.backups.into_iter().map(|h| (h.backup.clone(), h)).collect();
    Work { plan, heads, sweep, freed, mark_parts: marked, swept_parts: swept, swept_leftovers, parts_tombstones: due }
}

fn digest(plan: &PrunePlan, lists: [&Vec<PartId>; 3], leftovers: &[BackupId]) -> String {
    let mut text = format!("{plan:?}{leftovers:?}").into_bytes();
    for ids in lists {
        text.extend_from_slice(&(ids.len() as u64).to_le_bytes());
        for id in ids {
            text.extend_from_slice(id.as_bytes());
        }
    }
    Checksum::of(&text).to_string()
}

/// Makes a marked backup listed again. Works until its sweep has begun; `lease` keeps a prune away.
pub async fn undelete(vault: &Vault, lease: &Lease, backup: &BackupId) -> Result<Head> {
    lease.check()?;
    let key = vault.layout.tombstone(backup);
    let Some(tombstone) = document::find::<BackupTombstone>(vault.store.as_ref(), &key).await? else {
        let listed = document::find::<serde_json::Value>(vault.store.as_ref(), &vault.layout.head(backup)).await?.is_some();
        let text = if listed {
            format!("backup {backup} is not deleted")
        } else {
            format!("there is no backup {backup}, deleted or not")
        };
        return Err(Error::not_found(text).hint("`pgkeep list` shows what there is"));
    };
    let head_key = vault.layout.head(backup);
    let head = match vault.store.get(&head_key).await {
        Ok(bytes) => Head::parse(&head_key, &bytes, backup)?,
        Err(StoreError::NotFound(_)) => {
            return Err(Error::not_found(format!(
                "backup {backup} was deleted for good: its sweep began after {}",
                tombstone.sweep_after
            )));
        }
        Err(e) => return Err(Error::from(e)).context(|| format!("read '{head_key}'")),
    };
    lease.renew().await?;
    vault.store.delete(&key).await.map_err(Error::from).context(|| format!("delete '{key}'"))?;
    Ok(head)
}
