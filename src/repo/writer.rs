//! Stores the parts of one backup: groups cut them, the writer packs and uploads them beside the groups' reading, within a budget of memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::buffers::Buffers;
use super::chunk::Sizes;
use super::codec::{Packed, pack, part_id, unpack};
use super::contents::PartRecord;
use super::format::Checksum;
use super::group::{GroupWriter, WrittenStream};
use super::index::PartIndex;
use super::lease::Lease;
use super::vault::Vault;
use crate::base::ids::{BackupId, PartId};
use crate::base::limits::{IN_FLIGHT_BYTES, processors};
use crate::base::progress::SharedProgress;
use crate::base::shutdown::Shutdown;
use crate::base::threads::blocking;
use crate::base::{Error, Kind, Result, ResultExt};
use crate::store::{Body, PutMode, StoreError};

/// Writes one backup. Dropped without [`commit`](Writer::commit), it stops; what it stored is reused by the next run.
#[derive(Debug)]
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) lease: Arc<Lease>,
    _stop: DropGuard,
}

/// What groups and uploads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) vault: Vault,
    pub(super) backup: BackupId,
    index: PartIndex,
    pub(super) buffers: Arc<Buffers>,
    sizes: Sizes,
    /// One permit per byte between "cut" and "stored".
    budget: Arc<Semaphore>,
    /// One permit per processor: more parts at once are not compressed faster, but each takes memory.
    processors: Semaphore,
    stop: CancellationToken,
    shutdown: Shutdown,
    progress: SharedProgress,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Part of each slot; a slot is a part as some group cut it, and two slots may turn out to be the same part.
    pub(super) slots: Vec<Option<PartId>>,
    /// Each part of this backup; `None` while it is being stored.
    pub(super) parts: HashMap<PartId, Option<PartRecord>>,
    /// Streams of closed groups.
    pub(super) streams: Vec<WrittenStream>,
    pub(super) open_groups: usize,
    pub(super) new_parts: u64,
    pub(super) new_stored_bytes: u64,
    failure: Option<(Kind, String, Option<String>)>,
}

/// How much a writer has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterStats {
    /// Different parts.
    pub parts: u64,
    /// Those of them that were not in the store.
    pub new_parts: u64,
    /// Bytes of their objects.
    pub new_stored_bytes: u64,
}

impl Writer {
    /// Lists what the store has and gets ready to write `backup` under `lease`, which the caller keeps renewed. `progress` hears of parts that had to
    /// be put back; bytes are counted by whoever reads the rows. `shutdown` stops it.
    pub async fn begin(
        vault: &Vault,
        lease: &Arc<Lease>,
        backup: BackupId,
        progress: SharedProgress,
        shutdown: Shutdown,
    ) -> Result<Self> {
        Self::begin_with(vault, lease, backup, progress, shutdown, Sizes::default()).await
    }

    /// [`Writer::begin`] with other sizes of parts. Backups written with different sizes share no parts.
    pub async fn begin_with(
        vault: &Vault,
        lease: &Arc<Lease>,
        backup: BackupId,
        progress: SharedProgress,
        shutdown: Shutdown,
        sizes: Sizes,
    ) -> Result<Self> {
        lease.check()?;
        let index = PartIndex::read(vault).await?;
        vault.reach("writer:listed")?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            vault: vault.clone(),
            backup,
            index,
            buffers: Arc::new(Buffers::new(sizes.max)),
            sizes,
            budget: Arc::new(Semaphore::new(IN_FLIGHT_BYTES)),
            processors: Semaphore::new(processors()),
            stop: stop.clone(),
            shutdown,
            progress,
            state: Mutex::default(),
        });
        Ok(Self { shared, lease: Arc::clone(lease), _stop: stop.drop_guard() })
    }

    /// Opens a group: a sequence of streams that share parts. Groups are independent; the same streams in the same group give the same parts.
    pub fn group(&self, name: &str) -> GroupWriter {
        self.shared.state().open_groups += 1;
        GroupWriter::new(Arc::clone(&self.shared), name, self.shared.sizes)
    }

    /// How much is done so far.
    pub fn stats(&self) -> WriterStats {
        let state = self.shared.state();
        WriterStats { parts: state.parts.len() as u64, new_parts: state.new_parts, new_stored_bytes: state.new_stored_bytes }
    }

    /// Waits until everything that groups handed over is stored.
    pub(super) async fn all_stored(&self) -> Result<()> {
        let all = self.shared.budget.acquire_many(IN_FLIGHT_BYTES as u32).await;
        self.shared.check()?;
        all.map(drop).map_err(|_| Error::internal("the writer stopped without a reason"))
    }
}

/// What became of a part when its plaintext was hashed.
enum Prepared {
    /// This run stores it already.
    Claimed,
    /// The store has it.
    Present { id: PartId, size: u64, recorded: Option<(u64, Checksum)> },
    /// The store has not, or not whole.
    New { id: PartId, size: u64, packed: Packed, mode: PutMode },
}

impl Prepared {
    /// What it holds in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Claimed | Self::Present { .. } => 0,
            Self::New { packed, .. } => packed.stored.len(),
        }
    }
}

impl Shared {
    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first failure, for everybody who comes after it.
    pub(super) fn check(&self) -> Result<()> {
        self.shutdown.check()?;
        match &self.state().failure {
            None => Ok(()),
            Some((kind, message, hint)) => {
                let error = Error::new(*kind, message.clone());
                Err(match hint {
                    Some(hint) => error.hint(hint.clone()),
                    None => error,
                })
            }
        }
    }

    fn fail(&self, error: &Error) {
        self.state().failure.get_or_insert_with(|| (error.kind(), error.full_message(), error.hint_text().map(str::to_owned)));
        self.stop.cancel();
        self.budget.close();
    }

    /// Reserves a slot for a part that a group has begun.
    pub(super) fn new_slot(&self) -> usize {
        let mut state = self.state();
        state.slots.push(None);
        state.slots.len() - 1
    }

    /// Waits for room, then stores the part beside the caller.
    pub(super) async fn admit(self: &Arc<Self>, slot: usize, plain: Vec<u8>) -> Result<()> {
        self.check()?;
        let need = plain.len().min(IN_FLIGHT_BYTES) as u32;
        let permit = self.shutdown.guard(async { Ok(Arc::clone(&self.budget).acquire_many_owned(need).await) }).await?;
        self.check()?;
        let permit = permit.map_err(|_| Error::internal("the writer stopped without a reason"))?;
        let shared = Arc::clone(self);
        tokio::spawn(async move { shared.store(slot, plain, permit).await });
        Ok(())
    }

    async fn store(self: Arc<Self>, slot: usize, plain: Vec<u8>, mut room: OwnedSemaphorePermit) {
        let work = async {
            let shared = Arc::clone(&self);
            let processor =
                self.processors.acquire().await.map_err(|e| Error::internal("no processor is to be had").source(e))?;
            let prepared = blocking(move || {
                let prepared = shared.prepare(slot, &plain);
                shared.buffers.give(plain);
                prepared
            })
            .await?;
            drop(processor);
            // The plaintext is gone; one permit at least says that the part is not stored yet.
            let held = prepared.bytes().clamp(1, room.num_permits());
            drop(room.split(room.num_permits() - held));
            self.place(prepared).await
        };
        if let Some(Err(error)) = self.stop.run_until_cancelled(self.shutdown.guard(work)).await {
            self.fail(&error);
        }
    }

    fn prepare(&self, slot: usize, plain: &[u8]) -> Result<Prepared> {
        let (id, size) = (part_id(plain), plain.len() as u64);
        {
            let mut state = self.state();
            state.slots[slot] = Some(id);
            match state.parts.entry(id) {
                Entry::Occupied(_) => return Ok(Prepared::Claimed),
                Entry::Vacant(vacant) => vacant.insert(None),
            };
        }
        let mode = match self.index.get(&id) {
            Some(known) if !known.is_damaged() => return Ok(Prepared::Present { id, size, recorded: known.recorded }),
            Some(known) => {
                self.progress.note(&format!("part {id} is damaged in the store ({} bytes); putting it back", known.stored));
                PutMode::Overwrite
            }
            None => PutMode::Create,
        };
        Ok(Prepared::New { id, size, packed: pack(plain)?, mode })
    }

    async fn place(&self, prepared: Prepared) -> Result<()> {
        let (record, new) = match prepared {
            Prepared::Claimed => return Ok(()),
            Prepared::Present { id, size, recorded: Some((stored, sha256)) } => (PartRecord { id, size, stored, sha256 }, false),
            Prepared::Present { id, size, recorded: None } => (self.describe(id, size).await?, false),
            Prepared::New { id, size, packed, mode } => self.upload(id, size, packed, mode).await?,
        };
        let mut state = self.state();
        if new {
            state.new_parts += 1;
            state.new_stored_bytes += record.stored;
        }
        state.parts.insert(record.id, Some(record));
        Ok(())
    }

    /// Stores a part; the flag says whether it is our object that is there now.
    async fn upload(&self, id: PartId, size: u64, packed: Packed, mode: PutMode) -> Result<(PartRecord, bool)> {
        let ours = PartRecord { id, size, stored: packed.stored.len() as u64, sha256: packed.sha256 };
        let body = Body::hashed(packed.stored, packed.sha256.0);
        match self.vault.store.put_body(&self.vault.layout.part(&id), body, mode).await {
            Ok(_) => Ok((ours, true)),
            // A run that was interrupted stored the same content after we listed, perhaps compressed by another version.
            Err(StoreError::AlreadyExists(_)) => {
                let theirs = self.describe(id, size).await?;
                if theirs == ours { Ok((ours, false)) } else { Ok((self.read_back(id, size).await?, false)) }
            }
            Err(e) => Err(Error::from(e)).context(|| format!("store part {id}")),
        }
    }

    /// Size and checksum of a stored part, from the store where it can tell, else by reading it.
    async fn describe(&self, id: PartId, size: u64) -> Result<PartRecord> {
        let meta = self
            .vault
            .store
            .head(&self.vault.layout.part(&id), true)
            .await
            .map_err(Error::from)
            .context(|| format!("look at part {id}"))?;
        match meta.sha256 {
            Some(sha256) => Ok(PartRecord { id, size, stored: meta.size, sha256: Checksum(sha256) }),
            None => self.read_back(id, size).await,
        }
    }

    async fn read_back(&self, id: PartId, size: u64) -> Result<PartRecord> {
        let stored = self
            .vault
            .store
            .get(&self.vault.layout.part(&id))
            .await
            .map_err(Error::from)
            .context(|| format!("read part {id}"))?;
        blocking(move || {
            unpack(&id, &stored, Some(size))?;
            Ok(PartRecord { id, size, stored: stored.len() as u64, sha256: Checksum::of(&stored) })
        })
        .await
    }
}
