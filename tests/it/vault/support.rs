//! A store whose clients are processes that can be killed, and small backups to put into it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use pgkeep::base::clock::{Clock, ManualClock, SharedClock};
use pgkeep::base::ids::BackupId;
use pgkeep::base::progress::Silent;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::base::{Error, Result};
use pgkeep::repo::chunk::Sizes;
use pgkeep::repo::commit::Commit;
use pgkeep::repo::contents::Document;
use pgkeep::repo::failpoints::Failpoints;
use pgkeep::repo::format::Checksum;
use pgkeep::repo::gc::{self, Drop as DropBackup, Facts, PrunePlan};
use pgkeep::repo::head::Head;
use pgkeep::repo::lease::{Lease, LeaseRequest, Owner, Purpose};
use pgkeep::repo::listing::Listing;
use pgkeep::repo::reader::BackupReader;
use pgkeep::repo::sweep::{self, Outside, Pruned};
use pgkeep::repo::vault::Vault;
use pgkeep::repo::verify;
use pgkeep::repo::writer::Writer;
use pgkeep::store::{Body, ETag, Key, ObjectMeta, PutMode, Store, StoreError, StoreResult};

/// Small parts, so that small data has many.
pub(super) const SIZES: Sizes = Sizes { min: 200, target: 800, max: 4000 };
pub(super) const GRACE: Duration = Duration::from_secs(24 * 3600);

/// What all processes see.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) objects: Mutex<BTreeMap<Key, Bytes>>,
    /// Writes to `parts/` or `backups/` that changed an existing object.
    pub(super) overwritten: Mutex<Vec<Key>>,
}

impl Disk {
    pub(super) fn keys(&self, folder: &str) -> Vec<Key> {
        let objects = self.objects.lock().unwrap();
        objects.keys().filter(|k| k.as_str().starts_with(&format!("db/{folder}"))).cloned().collect()
    }

    pub(super) fn change(&self, key: &Key, change: impl FnOnce(&mut Vec<u8>)) {
        let mut objects = self.objects.lock().unwrap();
        let mut bytes = objects[key].to_vec();
        change(&mut bytes);
        objects.insert(key.clone(), bytes.into());
    }
}

/// One process's way to the disk. Its n-th request kills it, before or after it took effect.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) disk: Arc<Disk>,
    requests: AtomicU64,
    dies_at: AtomicU64,
    applied: bool,
    /// Leaves out checksums, as a store that cannot give them.
    pub(super) without_checksums: bool,
}

impl Process {
    pub(super) fn new(disk: &Arc<Disk>) -> Arc<Self> {
        Self::dying(disk, u64::MAX, false)
    }

    pub(super) fn dying(disk: &Arc<Disk>, dies_at: u64, applied: bool) -> Arc<Self> {
        Arc::new(Self {
            disk: Arc::clone(disk),
            requests: AtomicU64::new(0),
            dies_at: AtomicU64::new(dies_at),
            applied,
            without_checksums: false,
        })
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) fn kill(&self) {
        self.dies_at.store(0, Ordering::SeqCst);
    }

    /// Runs the request unless the process is dead; the fatal one may still take effect.
    fn request<T>(&self, run: impl FnOnce(&mut BTreeMap<Key, Bytes>) -> StoreResult<T>) -> StoreResult<T> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let dies_at = self.dies_at.load(Ordering::SeqCst);
        let mut objects = self.disk.objects.lock().unwrap();
        if number > dies_at || (number == dies_at && !self.applied) {
            return Err(dead());
        }
        let result = run(&mut objects);
        if number == dies_at { Err(dead()) } else { result }
    }
}

fn dead() -> StoreError {
    StoreError::Other(Error::internal("the process is dead"))
}

fn etag(bytes: &[u8]) -> ETag {
    ETag(Checksum::of(bytes).to_string())
}

#[async_trait]
impl Store for Process {
    async fn get_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        tokio::task::yield_now().await;
        self.request(|objects| match objects.get(key) {
            Some(bytes) => Ok((bytes.clone(), etag(bytes))),
            None => Err(StoreError::NotFound(key.clone())),
        })
    }

    async fn put_body(&self, key: &Key, body: Body, mode: PutMode) -> StoreResult<ETag> {
        tokio::task::yield_now().await;
        self.request(|objects| {
            let old = objects.get(key);
            match &mode {
                PutMode::Create if old.is_some() => return Err(StoreError::AlreadyExists(key.clone())),
                PutMode::Replace(expected) if old.is_none_or(|old| etag(old) != *expected) => {
                    return Err(StoreError::Precondition(key.clone()));
                }
                _ => {}
            }
            if old.is_some() && (key.as_str().starts_with("db/parts/") || key.as_str().starts_with("db/backups/")) {
                self.disk.overwritten.lock().unwrap().push(key.clone());
            }
            let bytes = body.into_bytes();
            let version = etag(&bytes);
            objects.insert(key.clone(), bytes);
            Ok(version)
        })
    }

    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        tokio::task::yield_now().await;
        self.request(|objects| match objects.get(key) {
            Some(bytes) => Ok(ObjectMeta {
                key: key.clone(),
                size: bytes.len() as u64,
                etag: Some(etag(bytes)),
                sha256: (checksum && !self.without_checksums).then(|| Checksum::of(bytes).0),
            }),
            None => Err(StoreError::NotFound(key.clone())),
        })
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        let listed = self.request(|objects| {
            let found = objects.iter().filter(|(k, _)| k.as_str().starts_with(prefix));
            Ok(found
                .map(|(k, b)| ObjectMeta { key: k.clone(), size: b.len() as u64, etag: None, sha256: None })
                .collect::<Vec<_>>())
        });
        match listed {
            Ok(found) => futures::stream::iter(found.into_iter().map(Ok)).boxed(),
            Err(e) => futures::stream::iter([Err(e)]).boxed(),
        }
    }

    async fn list_folders(&self, prefix: &str) -> StoreResult<Vec<String>> {
        self.request(|objects| {
            let mut folders: Vec<String> =
                objects.keys().filter_map(|k| Some(k.as_str().strip_prefix(prefix)?.split_once('/')?.0.to_owned())).collect();
            folders.dedup();
            Ok(folders)
        })
    }

    async fn delete(&self, key: &Key) -> StoreResult<()> {
        tokio::task::yield_now().await;
        self.request(|objects| {
            objects.remove(key);
            Ok(())
        })
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

/// A clock at a fixed start.
pub(super) fn clock() -> Arc<ManualClock> {
    ManualClock::new("2026-11-22T02:15:00Z".parse().unwrap())
}

pub(super) async fn vault(process: &Arc<Process>, clock: &Arc<ManualClock>) -> Result<Vault> {
    Vault::open_or_create(Arc::<Process>::clone(process), "db", "", Arc::<ManualClock>::clone(clock) as SharedClock).await
}

pub(super) fn owner(command: &str) -> Owner {
    Owner { host: "test".to_owned(), pid: 1, command: command.to_owned(), process: None }
}

pub(super) async fn lease(vault: &Vault, purpose: Purpose) -> Result<Arc<Lease>> {
    Lease::acquire(vault, &LeaseRequest::new(owner("test"), purpose)).await
}

/// Streams by name, each with its rows.
pub(super) type Data = BTreeMap<String, Vec<String>>;

/// `tables` tables of `rows` rows each.
pub(super) fn data(tables: usize, rows: usize) -> Data {
    (0..tables).map(|t| (format!("t{t}"), (0..rows).map(|r| format!("{r}\ttable {t} row {r}\t{}\n", r * r)).collect())).collect()
}

/// Writes the rows of `data` in two groups, without committing.
pub(super) async fn write(vault: &Vault, lease: &Arc<Lease>, data: &Data) -> Result<Writer> {
    let backup = BackupId::generate(vault.clock().now());
    let writer = Writer::begin_with(vault, lease, backup, Arc::new(Silent), Shutdown::new(), SIZES).await?;
    for half in 0..2 {
        let mut group = writer.group(&format!("group {half}"));
        for (name, rows) in data.iter().skip(half).step_by(2) {
            group.begin(name)?;
            for rows in rows.chunks(7) {
                if group.rows(rows.iter().map(String::as_bytes))? {
                    group.flush().await?;
                }
            }
            group.end()?;
        }
        group.close().await?;
    }
    Ok(writer)
}

pub(super) fn commit(clock: &dyn Clock, data: &Data) -> Commit {
    Commit {
        started_at: clock.now(),
        consistent_at: clock.now(),
        label: None,
        keep_until: None,
        source: serde_json::json!({"kind": "test"}),
        anomalies: Vec::new(),
        warnings: Vec::new(),
        documents: data.keys().map(|name| Document::new("table", &serde_json::json!({"table": name})).unwrap()).collect(),
        objects: data.len() as u64,
        tables: data.len() as u64,
    }
}

/// A whole backup run.
pub(super) async fn backup(vault: &Vault, data: &Data) -> Result<Head> {
    let lease = lease(vault, Purpose::Write).await?;
    let writer = write(vault, &lease, data).await?;
    let head = writer.commit(commit(vault.clock().as_ref(), data)).await?;
    lease.release().await?;
    Ok(head)
}

/// A whole prune run that marks `drop`.
pub(super) async fn prune(vault: &Vault, drop: &[BackupId]) -> Result<(PrunePlan, Pruned)> {
    let lease = lease(vault, Purpose::Sweep).await?;
    let plan = gc::plan(vault, &drops(drop), GRACE).await?;
    let pruned = sweep::apply(vault, &lease, &plan, &Shutdown::new()).await?;
    lease.release().await?;
    Ok((plan, pruned))
}

/// [`prune`] where backups own something outside. The lease is given back whatever happens.
pub(super) async fn prune_with(vault: &Vault, drop: &[BackupId], outside: &dyn Outside) -> Result<(PrunePlan, Pruned)> {
    let lease = lease(vault, Purpose::Sweep).await?;
    let plan = gc::plan(vault, &drops(drop), GRACE).await?;
    let facts = Facts::read(vault).await?;
    let pruned = sweep::apply_to(vault, &lease, &plan, facts, outside, &Shutdown::new()).await;
    lease.release().await?;
    Ok((plan, pruned?))
}

fn drops(drop: &[BackupId]) -> Vec<DropBackup> {
    drop.iter().map(|b| DropBackup { backup: b.clone(), reasons: vec!["test".to_owned()] }).collect()
}

/// The same objects on another disk.
pub(super) fn copy(disk: &Arc<Disk>) -> Arc<Disk> {
    let disk_copy = Disk::default();
    disk_copy.objects.lock().unwrap().clone_from(&disk.objects.lock().unwrap());
    Arc::new(disk_copy)
}

/// All rows of a backup, read through the reader.
pub(super) async fn read(vault: &Vault, head: &Head) -> Result<Data> {
    let reader = BackupReader::open(vault, head).await?;
    let mut data = Data::new();
    for stream in &reader.contents().streams {
        let mut text = String::new();
        let mut pieces = reader.stream(&stream.name)?;
        while let Some(piece) = pieces.next().await {
            text.push_str(std::str::from_utf8(&piece?).unwrap());
        }
        data.insert(stream.name.clone(), text.split_inclusive('\n').map(str::to_owned).collect());
    }
    Ok(data)
}

/// Fails the test unless everything that exists as a head is whole, nothing was overwritten, and what waits for its sweep is still there.
pub(super) async fn check_invariants(disk: &Arc<Disk>, clock: &Arc<ManualClock>) -> Listing {
    let vault = vault(&Process::new(disk), clock).await.expect("open the vault");
    let listing = Listing::read(&vault).await.expect("list");
    assert!(listing.damaged.is_empty(), "{:?}", listing.damaged);
    for head in listing.backups.iter().chain(listing.marked.iter().map(|t| &t.head)) {
        let report = verify::content(&vault, head, &Silent, &Shutdown::new()).await.expect("verify");
        assert!(report.passed(), "backup {}: {:?}", head.backup, report.findings);
        let report = verify::presence(&vault, head, &Silent, &Shutdown::new()).await.expect("verify");
        assert_eq!(report.findings, [], "backup {}", head.backup);
    }
    for tombstone in &listing.half_swept {
        assert!(tombstone.sweep_after <= clock.now(), "{} was swept within its grace period", tombstone.backup);
    }
    assert_eq!(*disk.overwritten.lock().unwrap(), []);
    listing
}

/// Dies at one named place.
#[derive(Debug)]
pub(super) struct DieAt(pub(super) &'static str);

impl Failpoints for DieAt {
    fn reach(&self, name: &'static str) -> Result<()> {
        if name == self.0 { Err(Error::internal(format!("died at {name}"))) } else { Ok(()) }
    }
}

/// Counts how often each place is reached.
#[derive(Debug, Default)]
pub(super) struct Reached(pub(super) Mutex<HashMap<&'static str, u32>>);

impl Failpoints for Reached {
    fn reach(&self, name: &'static str) -> Result<()> {
        *self.0.lock().unwrap().entry(name).or_default() += 1;
        Ok(())
    }
}

/// SplitMix64: small, and the same for the same seed everywhere.
pub(super) struct Seeded(pub(super) u64);

impl Seeded {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// The seed of a random test: `PGKEEP_TEST_SEED`, else from the time; printed, so that a failure can be repeated.
pub(super) fn seed(test: &str) -> u64 {
    let given = std::env::var("PGKEEP_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from_str_radix(&pgkeep::base::ids::random_hex(4), 16).unwrap());
    println!("{test}: PGKEEP_TEST_SEED={seed}");
    seed
}
