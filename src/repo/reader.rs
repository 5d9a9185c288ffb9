//! Gives the streams of a backup back, every part checked against its id, within a bounded memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::codec::unpack;
use super::contents::{Contents, Document, Extent, PartRecord};
use super::head::Head;
use super::index::read_contents_object;
use super::vault::Vault;
use crate::base::limits::{READ_AHEAD_BYTES, READ_CACHE_BYTES};
use crate::base::threads::blocking;
use crate::base::{Error, Result, ResultExt};
use crate::store::StoreError;

/// Rows come in pieces of about this many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// An open backup. Cheap to clone; clones share what they have decoded.
#[derive(Debug, Clone)]
pub struct BackupReader {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    vault: Vault,
    head: Head,
    contents: Arc<Contents>,
    streams: HashMap<String, usize>,
    /// How many extents name each part: those named by several are kept for a while.
    uses: Vec<u32>,
    ahead: Arc<Semaphore>,
    cache: Mutex<Cache>,
}

type Cell = Arc<OnceCell<Bytes>>;

/// Shared parts and their sizes, the longest known first out.
#[derive(Debug, Default)]
struct Cache {
    cells: HashMap<u64, Cell>,
    order: VecDeque<(u64, u64)>,
    bytes: u64,
}

/// Reads and checks the contents of a backup.
pub async fn read_contents(vault: &Vault, head: &Head) -> Result<Contents> {
    let stored = read_contents_object(vault, head).await?;
    let contents = blocking(move || Contents::from_bytes(&stored))
        .await
        .context(|| format!("read the contents of backup {}", head.backup))?;
    if contents.backup != head.backup {
        return Err(Error::integrity(format!("the contents of backup {} belong to backup {}", head.backup, contents.backup)));
    }
    Ok(contents)
}

impl BackupReader {
    /// Opens the backup of `head`. Put a reader mark first ([`super::readers::Reading`]).
    pub async fn open(vault: &Vault, head: &Head) -> Result<Self> {
        Ok(Self::open_apart(vault, head).await?.0)
    }

    /// [`BackupReader::open`], and the documents of the contents, which the reader does not keep: who restores need not hold them beside the rows.
    pub async fn open_apart(vault: &Vault, head: &Head) -> Result<(Self, Vec<Document>)> {
        let mut contents = read_contents(vault, head).await?;
        let documents = std::mem::take(&mut contents.documents);
        let mut uses = vec![0u32; contents.parts.len()];
        contents.streams.iter().flat_map(|s| &s.extents).for_each(|e| uses[e.part as usize] += 1);
        let streams = contents.streams.iter().enumerate().map(|(i, s)| (s.name.clone(), i)).collect();
        let shared = Shared {
            vault: vault.clone(),
            head: head.clone(),
            contents: Arc::new(contents),
            streams,
            uses,
            ahead: Arc::new(Semaphore::new(READ_AHEAD_BYTES)),
            cache: Mutex::default(),
        };
        Ok((Self { shared: Arc::new(shared) }, documents))
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.shared.head
    }

    /// The contents, without their documents.
    pub fn contents(&self) -> &Arc<Contents> {
        &self.shared.contents
    }

    /// The rows of stream `name`, in pieces of whole rows. The next part is read while the current one is consumed.
    pub fn stream(&self, name: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        let shared = Arc::clone(&self.shared);
        let Some(number) = shared.streams.get(name).copied() else {
            return Err(Error::not_found(format!("backup {} has no stream '{name}'", shared.head.backup)));
        };
        let walk = Walk { shared, stream: number, next: 0, ahead: None, rest: Bytes::new() };
        Ok(Box::pin(futures::stream::try_unfold(
            walk,
            |mut walk| async move { Ok(walk.piece().await?.map(|piece| (piece, walk))) },
        )))
    }
}

/// A place in a stream.
struct Walk {
    shared: Arc<Shared>,
    stream: usize,
    next: usize,
    ahead: Option<Ahead>,
    rest: Bytes,
}

/// A part that is being read before it is needed; dropped unused, the read stops.
struct Ahead(JoinHandle<Result<(Bytes, OwnedSemaphorePermit)>>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Walk {
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        if self.rest.is_empty() {
            let Some(extent) = self.extent(self.next) else {
                return Ok(None);
            };
            let part = match self.ahead.take() {
                // Its room is free again now that it is the current part.
                Some(mut ahead) => (&mut ahead.0).await.map_err(|e| Error::internal("reading ahead failed").source(e))??.0,
                None => self.shared.part(extent.part).await?,
            };
            self.rest = part.slice(extent.offset as usize..(extent.offset + extent.length) as usize);
            self.next += 1;
            self.read_ahead();
        }
        // Cut after the last row that ends within the piece; a longer row goes whole.
        let limit = self.rest.len().min(PIECE_BYTES);
        let end = memchr::memrchr(b'\n', &self.rest[..limit]).or_else(|| memchr::memchr(b'\n', &self.rest));
        match end {
            Some(at) => Ok(Some(self.rest.split_to(at + 1))),
            None => Err(self.shared.damaged("a piece of a stream does not end with a row")),
        }
    }

    fn extent(&self, at: usize) -> Option<Extent> {
        self.shared.contents.streams[self.stream].extents.get(at).copied()
    }

    /// Starts reading the next part if there is room for it; without room it is read when it is needed.
    fn read_ahead(&mut self) {
        let Some(extent) = self.extent(self.next) else {
            return;
        };
        let size = self.shared.contents.parts[extent.part as usize].size;
        let Ok(room) = u32::try_from(size)
            .map_err(drop)
            .and_then(|n| Arc::clone(&self.shared.ahead).try_acquire_many_owned(n).map_err(drop))
        else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        self.ahead = Some(Ahead(tokio::spawn(async move { Ok((shared.part(extent.part).await?, room)) })));
    }
}

impl Shared {
    /// A decoded part; several who ask for a shared part at once wait for one read.
    async fn part(&self, number: u64) -> Result<Bytes> {
        let record = &self.contents.parts[number as usize];
        if self.uses[number as usize] < 2 {
            return fetch(&self.vault, record).await;
        }
        let cell = self.cache().cell(number, record.size);
        let part = cell.get_or_try_init(|| fetch(&self.vault, record)).await?;
        Ok(part.clone())
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self, what: &str) -> Error {
        Error::integrity(format!("backup {} is damaged: {what}", self.head.backup))
    }
}

impl Cache {
    fn cell(&mut self, number: u64, size: u64) -> Cell {
        if let Some(cell) = self.cells.get(&number) {
            return Arc::clone(cell);
        }
        let cell = Cell::default();
        self.cells.insert(number, Arc::clone(&cell));
        self.order.push_back((number, size));
        self.bytes += size;
        // What somebody still reads lives on in their hands.
        while self.bytes > READ_CACHE_BYTES as u64 && self.order.len() > 1 {
            if let Some((old, size)) = self.order.pop_front() {
                self.cells.remove(&old);
                self.bytes -= size;
            }
        }
        cell
    }
}

/// Reads, decompresses and checks one part.
async fn fetch(vault: &Vault, record: &PartRecord) -> Result<Bytes> {
    let Some(stored) = read_part(vault, record).await? else {
        return Err(Error::integrity(format!("part {} is missing from {}", record.id, vault.describe()))
            .hint("`pgkeep verify --level content` tells which tables of which backups are hit"));
    };
    let (id, size) = (record.id, record.size);
    blocking(move || unpack(&id, &stored, Some(size))).await
}

/// The object of one part; `None` when it is not there.
pub(super) async fn read_part(vault: &Vault, record: &PartRecord) -> Result<Option<Bytes>> {
    match vault.store.get(&vault.layout.part(&record.id)).await {
        Ok(stored) => Ok(Some(stored)),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(e) => Err(Error::from(e)).context(|| format!("read part {}", record.id)),
    }
}
