//! Which vaults a store has, which backups a vault has, and how one is chosen.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::format::Layout;
use super::head::Head;
use super::tombstones::{BackupTombstone, Tombstones, marked};
use super::vault::Vault;
use crate::base::ids::BackupId;
use crate::base::limits::STORE_CONCURRENCY;
use crate::base::{Error, Kind, Result, ResultExt};
use crate::store::{Key, SharedStore, StoreError};

/// Heads that are read first when one is looked for.
const FIRST_HEADS: usize = 4;

/// Names of the vaults in `store`, in order.
pub async fn vaults(store: &SharedStore) -> Result<Vec<String>> {
    let folders = store.list_folders("").await.map_err(Error::from).context(|| format!("list {}", store.describe()))?;
    futures::stream::iter(folders)
        .map(|folder| async move {
            let Ok(layout) = Layout::new(&folder) else {
                return Ok(None);
            };
            match store.head(&layout.vault(), false).await {
                Ok(_) => Ok(Some(folder)),
                Err(StoreError::NotFound(_)) => Ok(None),
                Err(e) => Err(Error::from(e)).context(|| format!("look for a vault in '{folder}'")),
            }
        })
        .buffered(STORE_CONCURRENCY)
        .try_filter_map(|name| async move { Ok(name) })
        .try_collect()
        .await
}

/// How a person names a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// By id.
    Backup(BackupId),
    /// The newest whose consistency point is at or before this time.
    At(Timestamp),
    /// The newest with this label.
    Label(String),
    /// The newest.
    Latest,
}

/// A backup whose head or tombstone cannot be read.
#[derive(Debug)]
pub struct DamagedHead {
    /// The backup.
    pub backup: BackupId,
    /// What is wrong.
    pub error: Error,
}

/// All backups of a vault at one moment.
#[derive(Debug, Default)]
pub struct Listing {
    /// Complete backups without tombstone, oldest commit first.
    pub backups: Vec<Head>,
    /// Marked backups that still have their head, in order of id: `undelete` brings them back.
    pub marked: Vec<BackupTombstone>,
    /// Tombstones of backups whose sweep was interrupted after the head was gone.
    pub half_swept: Vec<BackupTombstone>,
    /// Backups whose head or tombstone cannot be read, the latter first; with an unreadable tombstone a backup is neither listed nor swept.
    pub damaged: Vec<DamagedHead>,
    /// Tombstones of parts that cannot be read, and why: nothing is lost by them, but nothing may be pruned.
    pub unreadable_tombstones: Vec<(Key, Error)>,
    /// Contents without a head: left by interrupted runs.
    pub leftovers: Vec<BackupId>,
    /// The tombstones of unreferenced parts.
    pub parts_tombstones: Vec<super::tombstones::PartsTombstone>,
}

impl Listing {
    /// Reads heads and tombstones, heads concurrently.
    pub async fn read(vault: &Vault) -> Result<Self> {
        // Tombstones before heads: a backup that is swept in between must not look as if it had never been marked.
        let tombstones = Tombstones::read(vault).await?;
        let (with_head, without) = folders(vault).await?;
        let heads = read_heads(vault, with_head).await?;
        let unreadable = tombstones.damaged.iter().map(|(backup, _)| backup);
        let marked_ids: HashSet<BackupId> = tombstones.backups.iter().map(|t| &t.backup).chain(unreadable).cloned().collect();
        let with_head: HashSet<BackupId> = heads.iter().map(|(id, _)| id.clone()).collect();
        let mut listing = Self {
            leftovers: without,
            parts_tombstones: tombstones.parts,
            damaged: tombstones.damaged.into_iter().map(|(backup, error)| DamagedHead { backup, error }).collect(),
            unreadable_tombstones: tombstones.unreadable,
            ..Self::default()
        };
        for (backup, head) in heads {
            match head {
                _ if marked_ids.contains(&backup) => {}
                Ok(head) => listing.backups.push(head),
                Err(error) => listing.damaged.push(DamagedHead { backup, error }),
            }
        }
        listing.leftovers.retain(|id| !marked_ids.contains(id));
        (listing.marked, listing.half_swept) = tombstones.backups.into_iter().partition(|t| with_head.contains(&t.backup));
        listing.backups.sort_by(|a, b| (a.committed_at, &a.backup).cmp(&(b.committed_at, &b.backup)));
        Ok(listing)
    }

    /// The backup that `selector` names; an error of kind `NotFound` says what comes nearest.
    pub fn find(&self, selector: &Selector) -> Result<&Head> {
        match selector {
            Selector::Backup(id) => self.by_id(id),
            Selector::At(at) => self.at(*at),
            Selector::Label(label) => self.labelled(label),
            Selector::Latest => self.backups.last().ok_or_else(|| self.none("the vault has no backup")),
        }
    }

    fn by_id(&self, id: &BackupId) -> Result<&Head> {
        if let Some(head) = self.backups.iter().find(|h| h.backup == *id) {
            return Ok(head);
        }
        if let Some(tombstone) = self.marked.iter().find(|t| t.backup == *id) {
            let text =
                format!("backup {id} was removed at {} and is deleted after {}", tombstone.marked_at, tombstone.sweep_after);
            return Err(Error::not_found(text).hint(format!("`pgkeep undelete {} {id}` brings it back", tombstone.head.policy)));
        }
        if let Some(damaged) = self.damaged.iter().find(|d| d.backup == *id) {
            return Err(Error::new(
                damaged.error.kind(),
                format!("backup {id} cannot be read: {}", damaged.error.full_message()),
            ));
        }
        Err(self.none(&format!("there is no backup {id}")))
    }

    fn at(&self, at: Timestamp) -> Result<&Head> {
        let before = self.backups.iter().filter(|h| h.consistent_at <= at);
        if let Some(head) = before.max_by_key(|h| (h.consistent_at, h.committed_at, h.backup.clone())) {
            return Ok(head);
        }
        match self.backups.iter().min_by_key(|h| h.consistent_at) {
            Some(oldest) => {
                Err(Error::not_found(format!("no backup shows {at} or earlier; the oldest shows {}", oldest.consistent_at))
                    .hint(format!("restore the oldest with `--backup {}`, or see `pgkeep list`", oldest.backup)))
            }
            None => Err(self.none(&format!("no backup shows {at} or earlier"))),
        }
    }

    fn labelled(&self, label: &str) -> Result<&Head> {
        if let Some(head) = self.backups.iter().rev().find(|h| h.label.as_deref() == Some(label)) {
            return Ok(head);
        }
        let labels: Vec<&str> = self.backups.iter().filter_map(|h| h.label.as_deref()).collect();
        let near = labels.iter().copied().min_by_key(|l| strsim::levenshtein(l, label));
        let error = self.none(&format!("no backup has the label '{label}'"));
        Err(match near {
            Some(near) => error.hint(format!("the nearest label is '{near}'; `pgkeep list` shows all")),
            None => error,
        })
    }

    /// `what`, and what there is instead.
    fn none(&self, what: &str) -> Error {
        let rest = match (self.backups.first(), self.backups.last()) {
            (Some(first), Some(last)) => format!("the vault has {} from {} to {}", self.backups.len(), first.backup, last.backup),
            _ if !self.marked.is_empty() => {
                format!("all {} backups were removed; `pgkeep undelete` brings one back until it is swept", self.marked.len())
            }
            _ if !self.damaged.is_empty() => {
                format!("{} backups cannot be read; `pgkeep verify` tells more", self.damaged.len())
            }
            _ => "no run has completed yet; `pgkeep backup` makes one".to_owned(),
        };
        Error::not_found(what).hint(rest)
    }
}

/// The ids of all listed backups. For who needs one head and not thousands.
#[derive(Debug)]
pub struct Ids {
    vault: Vault,
    /// In order of id.
    ids: Vec<BackupId>,
}

impl Ids {
    /// Lists backups and tombstones; reads none.
    pub async fn read(vault: &Vault) -> Result<Self> {
        let (marked, (mut ids, _)) = tokio::try_join!(marked(vault), folders(vault))?;
        ids.retain(|id| !marked.contains(id));
        Ok(Self { vault: vault.clone(), ids })
    }

    /// The backup last committed of those whose id and head are `wanted`. Heads are read from the newest id back, some at a time, until one
    /// is found: ids tell when a run began, and no run overtakes that many others. A head that cannot be read is passed over.
    pub async fn newest(&self, id: impl Fn(&BackupId) -> bool, wanted: impl Fn(&Head) -> bool) -> Result<Option<Head>> {
        let mut ids: Vec<BackupId> = self.ids.iter().filter(|i| id(i)).cloned().collect();
        let mut count = FIRST_HEADS;
        while !ids.is_empty() {
            let heads = read_heads(&self.vault, ids.split_off(ids.len().saturating_sub(count))).await?;
            let heads = heads.into_iter().filter_map(|(_, head)| head.ok()).filter(|head| wanted(head));
            if let Some(newest) = heads.max_by(|a, b| (a.committed_at, &a.backup).cmp(&(b.committed_at, &b.backup))) {
                return Ok(Some(newest));
            }
            count = STORE_CONCURRENCY;
        }
        Ok(None)
    }
}

/// The ids under `backups/`, in order: those with a head, and those without.
async fn folders(vault: &Vault) -> Result<(Vec<BackupId>, Vec<BackupId>)> {
    let mut folders: BTreeMap<BackupId, bool> = BTreeMap::new();
    let mut objects = vault.store.list(&vault.layout.backups());
    while let Some(meta) =
        objects.try_next().await.map_err(Error::from).context(|| format!("list the backups of {}", vault.describe()))?
    {
        if let Some((backup, name)) = vault.layout.backup_of(&meta.key) {
            *folders.entry(backup).or_default() |= name == "head.json";
        }
    }
    let (with, without): (Vec<_>, Vec<_>) = folders.into_iter().partition(|(_, head)| *head);
    let ids = |list: Vec<(BackupId, bool)>| list.into_iter().map(|(id, _)| id).collect();
    Ok((ids(with), ids(without)))
}

async fn read_heads(vault: &Vault, ids: Vec<BackupId>) -> Result<Vec<(BackupId, Result<Head>)>> {
    futures::stream::iter(ids)
        .map(|id| async move {
            let head = read_head(vault, &id).await.and_then(|bytes| match bytes {
                Some(bytes) => Head::parse(&vault.layout.head(&id), &bytes, &id).map(Some),
                None => Ok(None),
            });
            match head {
                Ok(Some(head)) => Ok(Some((id, Ok(head)))),
                Ok(None) => Ok(None),
                // A head that somebody damaged must not hide the others; a store that does not answer hides all of them.
                Err(e) if matches!(e.kind(), Kind::Integrity | Kind::Unsupported) => Ok(Some((id, Err(e)))),
                Err(e) => Err(e),
            }
        })
        .buffered(STORE_CONCURRENCY)
        .try_filter_map(|head| async move { Ok(head) })
        .try_collect()
        .await
}

async fn read_head(vault: &Vault, id: &BackupId) -> Result<Option<Bytes>> {
    match vault.store.get(&vault.layout.head(id)).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(e) => Err(Error::from(e)).context(|| format!("read the head of backup {id}")),
    }
}
