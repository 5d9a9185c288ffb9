//! Marks of restores and drills, so that no prune deletes what they read.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::document;
use super::lease::Owner;
use super::vault::Vault;
use crate::base::clock::add;
use crate::base::ids::{BackupId, RunId};
use crate::base::limits::READER_TTL;
use crate::base::{Error, Result, ResultExt};

/// `readers/<id>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderMark {
    /// The run that reads.
    pub id: RunId,
    /// The backup that it reads.
    pub backup: BackupId,
    /// What for: `restore`, `verify`.
    pub purpose: String,
    /// Who.
    pub owner: Owner,
    /// When the mark stops protecting, unless renewed.
    pub expires_at: Timestamp,
}

/// All marks, expired ones too.
pub async fn all(vault: &Vault) -> Result<Vec<ReaderMark>> {
    let keys = document::keys(vault.store.as_ref(), &vault.layout.readers()).await?;
    Ok(document::read_all(vault.store.as_ref(), keys).await?.into_iter().map(|(_, mark)| mark).collect())
}

/// A mark that is kept alive until [`Reading::finish`]; dropped without it, it expires.
#[derive(Debug)]
pub struct Reading {
    vault: Vault,
    mark: ReaderMark,
    renewal: Option<(DropGuard, JoinHandle<()>)>,
}

impl Reading {
    /// Marks `backup` as being read by run `id`, then makes sure that it is still listed: from here on no prune deletes it.
    pub async fn begin(vault: &Vault, id: &RunId, backup: &BackupId, purpose: &str, owner: Owner) -> Result<Self> {
        let mark = ReaderMark {
            id: id.clone(),
            backup: backup.clone(),
            purpose: purpose.to_owned(),
            owner,
            expires_at: add(vault.clock.now(), READER_TTL),
        };
        let reading = Self { vault: vault.clone(), mark, renewal: None };
        reading.renew().await?;
        match reading.still_listed().await {
            Ok(()) => Ok(reading),
            Err(e) => {
                reading.finish().await?;
                Err(e)
            }
        }
    }

    async fn still_listed(&self) -> Result<()> {
        let (layout, backup) = (&self.vault.layout, &self.mark.backup);
        for (key, must_exist) in [(layout.head(backup), true), (layout.tombstone(backup), false)] {
            let exists = document::find::<serde_json::Value>(self.vault.store.as_ref(), &key).await?.is_some();
            if exists != must_exist {
                return Err(Error::not_found(format!("backup {backup} was removed meanwhile"))
                    .hint("`pgkeep undelete` brings it back until it is swept; `pgkeep list` shows what else there is"));
            }
        }
        Ok(())
    }

    /// Renews the mark in the background from now on.
    pub fn keep(mut self) -> Self {
        let token = CancellationToken::new();
        let (vault, mark, stop) = (self.vault.clone(), self.mark.clone(), token.clone());
        let task = tokio::spawn(async move {
            let clock = Arc::clone(&vault.clock);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = clock.sleep(READER_TTL / 6) => {}
                }
                // One failed renewal leaves five more before the mark expires.
                if let Err(error) = write(&vault, &mark).await {
                    tracing::warn!(%error, backup = %mark.backup, "cannot renew the mark that protects the backup being read");
                }
            }
        });
        self.renewal = Some((token.drop_guard(), task));
        self
    }

    /// Renews the mark once.
    pub async fn renew(&self) -> Result<()> {
        write(&self.vault, &self.mark).await
    }

    /// Removes the mark.
    pub async fn finish(mut self) -> Result<()> {
        if let Some((guard, task)) = self.renewal.take() {
            drop(guard);
            // A renewal on its way would put the mark back after the delete.
            let _ = task.await;
        }
        let key = self.vault.layout.reader(&self.mark.id);
        self.vault.store.delete(&key).await.map_err(Error::from).context(|| format!("delete '{key}'"))
    }
}

async fn write(vault: &Vault, mark: &ReaderMark) -> Result<()> {
    let mark = ReaderMark { expires_at: add(vault.clock.now(), READER_TTL), ..mark.clone() };
    document::overwrite(vault.store.as_ref(), &vault.layout.reader(&mark.id), &mark).await
}
