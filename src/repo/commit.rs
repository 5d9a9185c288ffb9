//! Makes a backup exist: proof by the store, contents, announcement under the lease, head. `docs/FORMAT.md`, "Writing", gives the order.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::contents::{Contents, Document, Extent, PartRecord, StreamRecord};
use super::document::to_bytes;
use super::format::{Checksum, FORMAT};
use super::head::{ContentsRef, Counts, Head};
use super::stored::StoredParts;
use super::writer::{State, Writer};
use crate::base::ids::{PartId, random_hex};
use crate::base::threads::blocking;
use crate::base::{Error, Kind, Result, ResultExt};
use crate::store::{Key, PutMode, StoreExt as _};

/// What the writer cannot know of the backup.
#[derive(Debug, Clone)]
pub struct Commit {
    /// When the run started.
    pub started_at: Timestamp,
    /// The instant that the backup shows.
    pub consistent_at: Timestamp,
    /// What the user called it.
    pub label: Option<String>,
    /// Retention leaves it alone until then.
    pub keep_until: Option<Timestamp>,
    /// What was backed up, for the head.
    pub source: serde_json::Value,
    /// Why the backup is suspicious.
    pub anomalies: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Documents for the contents, in order.
    pub documents: Vec<Document>,
    /// Objects of the database, for the head's counts.
    pub objects: u64,
    /// Tables, for the head's counts.
    pub tables: u64,
}

impl Writer {
    /// Commits the backup and returns its head. After an error the backup is not listed, except when the store stopped answering once the head was
    /// on its way: then it may be listed, and is complete.
    pub async fn commit(self, mut commit: Commit) -> Result<Head> {
        let vault = &self.shared.vault;
        self.all_stored().await?;
        vault.reach("commit:uploaded")?;
        let (contents, counts) = self.contents(std::mem::take(&mut commit.documents))?;
        let contents = Arc::new(contents);
        let written = Arc::clone(&contents);
        let (stored, ()) = tokio::try_join!(blocking(move || written.to_bytes()), self.prove_parts(&contents.parts))?;
        drop(contents);
        vault.reach("commit:proven")?;

        let key = vault.layout.contents(&self.shared.backup);
        self.put_and_read_back(&key, stored.clone(), ["commit:contents-written", "commit:contents-read"]).await?;
        let contents = ContentsRef { key: key.as_str().to_owned(), size: stored.len() as u64, sha256: Checksum::of(&stored) };
        drop(stored);
        let counts = Counts { objects: commit.objects, tables: commit.tables, ..counts };
        let head = self.head(commit, contents, counts);
        let body = to_bytes(&head)?;

        self.shared.check()?;
        self.lease.announce(&self.shared.backup).await?;
        vault.reach("commit:announced")?;
        let written = self
            .put_and_read_back(&vault.layout.head(&self.shared.backup), body, ["commit:head-written", "commit:head-read"])
            .await;
        self.withdraw_if(Kind::Integrity, written).await?;
        self.lease.settle();
        self.withdraw_if(Kind::Conflict, self.lease.confirm().await).await?;
        Ok(head)
    }

    /// Withdraws the backup when `outcome` is an error of this kind, and gives the outcome back.
    async fn withdraw_if(&self, kind: Kind, outcome: Result<()>) -> Result<()> {
        if let Err(error) = &outcome
            && error.kind() == kind
        {
            self.withdraw().await.context(|| format!("withdraw backup {} ({})", self.shared.backup, error.message()))?;
        }
        outcome
    }

    /// Turns slots into parts, numbered in order of first use by the streams in order of name.
    fn contents(&self, documents: Vec<Document>) -> Result<(Contents, Counts)> {
        let mut state = self.shared.state();
        if state.open_groups > 0 {
            return Err(Error::internal(format!(
                "{} groups of backup {} were not closed",
                state.open_groups, self.shared.backup
            )));
        }
        let mut written = std::mem::take(&mut state.streams);
        written.sort_by(|a, b| a.name.cmp(&b.name));
        let mut numbers: HashMap<PartId, u64> = HashMap::with_capacity(state.parts.len());
        let mut contents = Contents {
            backup: self.shared.backup.clone(),
            documents,
            parts: Vec::new(),
            streams: Vec::with_capacity(written.len()),
        };
        let mut counts = Counts { new_parts: state.new_parts, new_stored_bytes: state.new_stored_bytes, ..Counts::default() };
        for stream in written {
            let mut extents = Vec::with_capacity(stream.extents.len());
            for e in stream.extents {
                let record = record(&state, e.part)?;
                let part = *numbers.entry(record.id).or_insert_with(|| {
                    contents.parts.push(record.clone());
                    contents.parts.len() as u64 - 1
                });
                extents.push(Extent { part, ..e });
            }
            counts.rows += stream.fingerprint.rows;
            contents.streams.push(StreamRecord { name: stream.name, fingerprint: stream.fingerprint, extents });
        }
        counts.parts = contents.parts.len() as u64;
        (counts.plain_bytes, counts.stored_bytes) = contents.part_bytes();
        Ok((contents, counts))
    }

    fn head(&self, commit: Commit, contents: ContentsRef, counts: Counts) -> Head {
        let vault = &self.shared.vault;
        Head {
            format: FORMAT,
            backup: self.shared.backup.clone(),
            policy: vault.policy().to_owned(),
            vault_id: vault.info.vault_id.clone(),
            write_id: random_hex(16),
            generation: self.lease.generation(),
            tool: tool(),
            started_at: commit.started_at,
            consistent_at: commit.consistent_at,
            committed_at: vault.clock.now(),
            label: commit.label,
            keep_until: commit.keep_until,
            contents,
            counts,
            source: commit.source,
            anomalies: commit.anomalies,
            warnings: commit.warnings,
        }
    }

    /// Lists the store again: every part that the backup names must be there as recorded.
    async fn prove_parts(&self, parts: &[PartRecord]) -> Result<()> {
        let vault = &self.shared.vault;
        let listed = StoredParts::list(vault).await?;
        let missing: Vec<&PartRecord> = parts.iter().filter(|p| listed.size(&p.id) != Some(p.stored)).collect();
        let Some(PartRecord { id: first, stored, .. }) = missing.iter().min_by_key(|p| p.id) else {
            return Ok(());
        };
        let text = format!(
            "the store does not list {} of {} parts as they were written, first of all {first} ({stored} bytes)",
            missing.len(),
            parts.len()
        );
        Err(Error::integrity(text)
            .hint("something deleted or changed objects during the backup; nothing was committed, run it again"))
    }

    async fn put_and_read_back(&self, key: &Key, body: bytes::Bytes, [written, read]: [&'static str; 2]) -> Result<()> {
        let vault = &self.shared.vault;
        vault.store.put(key, body.clone(), PutMode::Create).await.map_err(Error::from).context(|| format!("write '{key}'"))?;
        vault.reach(written)?;
        let back = vault.store.get(key).await.map_err(Error::from).context(|| format!("read '{key}' back"))?;
        if back != body {
            return Err(Error::integrity(format!(
                "the store gives '{key}' back changed: {} bytes written, {} read",
                body.len(),
                back.len()
            )));
        }
        vault.reach(read)
    }

    /// Deletes what was committed under a lease that turned out to be lost: head first.
    async fn withdraw(&self) -> Result<()> {
        let vault = &self.shared.vault;
        for key in [vault.layout.head(&self.shared.backup), vault.layout.contents(&self.shared.backup)] {
            vault.store.delete(&key).await.map_err(Error::from).context(|| format!("delete '{key}'"))?;
        }
        Ok(())
    }
}

fn record(state: &State, slot: u64) -> Result<&PartRecord> {
    let part = usize::try_from(slot).ok().and_then(|slot| *state.slots.get(slot)?);
    part.and_then(|id| state.parts.get(&id)?.as_ref()).ok_or_else(|| Error::internal("a part of the backup was never stored"))
}

/// Program and version, as documents name it.
pub fn tool() -> String {
    concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned()
}
