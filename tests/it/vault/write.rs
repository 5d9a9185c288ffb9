//! Backups go in and come out; unchanged rows cost nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use pgkeep::base::Kind;
use pgkeep::base::clock::{Clock, SharedClock};
use pgkeep::base::fingerprint::Fingerprint;
use pgkeep::base::ids::{BackupId, RunId};
use pgkeep::base::limits::{IN_FLIGHT_BYTES, PART_MAX_BYTES};
use pgkeep::base::progress::Silent;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::repo::failpoints::Failpoints;
use pgkeep::repo::lease::Purpose;
use pgkeep::repo::listing::{self, Listing, Selector};
use pgkeep::repo::reader::{BackupReader, read_contents};
use pgkeep::repo::runs::{self, Run, RunKind};
use pgkeep::repo::vault::Vault;
use pgkeep::repo::writer::Writer;
use pgkeep::store::{Body, ETag, Key, ObjectMeta, PutMode, SharedStore, Store, StoreResult};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::support::*;

#[tokio::test]
async fn what_goes_in_comes_out_and_unchanged_rows_are_not_stored_again() {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let vault = vault(&Process::new(&disk), &clock).await.unwrap();
    let mut rows = data(9, 300);
    rows.insert("empty".to_owned(), Vec::new());
    rows.insert("long".to_owned(), vec![format!("{}\n", "x".repeat(3 * SIZES.max))]);
    let first = backup(&vault, &rows).await.unwrap();
    assert_eq!(read(&vault, &first).await.unwrap(), rows);
    assert_eq!(first.counts.rows, 2701);
    assert_eq!(first.counts.new_parts, first.counts.parts);

    clock.advance(std::time::Duration::from_secs(60));
    let second = backup(&vault, &rows).await.unwrap();
    assert_eq!((second.counts.new_parts, second.counts.new_stored_bytes), (0, 0));
    let text = |key: Key| String::from_utf8(zstd::decode_all(&disk.objects.lock().unwrap()[&key][..]).unwrap()).unwrap();
    let (a, b) = (text(vault.layout().contents(&first.backup)), text(vault.layout().contents(&second.backup)));
    assert_eq!(a.lines().skip(1).collect::<Vec<_>>(), b.lines().skip(1).collect::<Vec<_>>());

    rows.get_mut("t3").unwrap().push("one more row\n".to_owned());
    clock.advance(std::time::Duration::from_secs(60));
    let third = backup(&vault, &rows).await.unwrap();
    assert!((1..=3).contains(&third.counts.new_parts), "{:?}", third.counts);
    assert_eq!(read(&vault, &third).await.unwrap(), rows);
    check_invariants(&disk, &clock).await;
}

#[tokio::test]
async fn fingerprints_and_shared_parts() {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let vault = vault(&Process::new(&disk), &clock).await.unwrap();
    let many = data(200, 2);
    let head = backup(&vault, &many).await.unwrap();
    assert!(head.counts.parts < 30, "200 tables of two rows take {} parts", head.counts.parts);
    let contents = read_contents(&vault, &head).await.unwrap();
    for stream in &contents.streams {
        let mut expected = Fingerprint::default();
        many[&stream.name].iter().for_each(|row| expected.add(row.as_bytes()));
        assert_eq!(stream.fingerprint, expected);
    }
    let reader = BackupReader::open(&vault, &head).await.unwrap();
    let streams: Vec<_> = many.keys().map(|name| reader.stream(name).unwrap().count()).collect();
    let pieces = futures::future::join_all(streams).await;
    assert!(pieces.iter().all(|n| (1..=2).contains(n)), "{pieces:?}"); // Two where a part ends inside the stream.
    assert_eq!(reader.stream("nowhere").err().unwrap().kind(), Kind::NotFound);
}

#[tokio::test]
async fn reused_parts_get_their_checksums_from_a_store_that_has_none() {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let process = Arc::new({
        let mut process = Arc::into_inner(Process::new(&disk)).unwrap();
        process.without_checksums = true;
        process
    });
    let vault = vault(&process, &clock).await.unwrap();
    let rows = data(3, 200);
    // A run that stored its parts and never committed.
    let interrupted = lease(&vault, Purpose::Write).await.unwrap();
    drop(write(&vault, &interrupted, &rows).await.unwrap());
    tokio::time::timeout(std::time::Duration::from_secs(5), async {
        while disk.keys("parts/").len() < 5 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .ok();
    interrupted.release().await.unwrap();
    let stored = disk.keys("parts/").len() as u64;
    let head = backup(&vault, &rows).await.unwrap();
    assert_eq!(head.counts.new_parts, head.counts.parts - stored);
    check_invariants(&disk, &clock).await;
}

#[tokio::test]
async fn a_part_that_vanishes_before_the_commit_fails_it() {
    for reused in [false, true] {
        let (disk, clock) = (Arc::new(Disk::default()), clock());
        let vault = vault(&Process::new(&disk), &clock).await.unwrap();
        if reused {
            backup(&vault, &data(3, 100)).await.unwrap();
        }
        let listed = Listing::read(&vault).await.unwrap().backups.len();
        let vault = vault.with_failpoints(Arc::new(StealAtProof(Arc::clone(&disk))));
        let held = lease(&vault, Purpose::Write).await.unwrap();
        let rows = data(3, 100);
        let writer = write(&vault, &held, &rows).await.unwrap();
        let e = writer.commit(commit(clock.as_ref(), &rows)).await.unwrap_err();
        assert!(e.kind() == Kind::Integrity && e.message().contains("does not list 1 of"), "{e}");
        assert_eq!(Listing::read(&vault).await.unwrap().backups.len(), listed);
        assert_eq!(disk.keys("backups/").len(), 2 * listed, "no contents either");
    }
}

/// Deletes a part when all are stored.
#[derive(Debug)]
struct StealAtProof(Arc<Disk>);

impl Failpoints for StealAtProof {
    fn reach(&self, name: &'static str) -> pgkeep::base::Result<()> {
        if name == "commit:uploaded" {
            let part = self.0.keys("parts/").pop().unwrap();
            self.0.objects.lock().unwrap().remove(&part);
        }
        Ok(())
    }
}

#[tokio::test]
async fn misuse_of_a_group_is_refused() {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let vault = vault(&Process::new(&disk), &clock).await.unwrap();
    let held = lease(&vault, Purpose::Write).await.unwrap();
    let writer = Writer::begin(
        &vault,
        &held,
        BackupId::generate("2026-11-22T02:15:00Z".parse().unwrap()),
        Arc::new(Silent),
        Shutdown::new(),
    );
    let writer = writer.await.unwrap();
    let mut group = writer.group("g");
    assert!(group.rows([&b"a\n"[..]]).is_err(), "rows outside of a stream");
    group.begin("s").unwrap();
    assert!(group.begin("t").is_err(), "two streams at once");
    group.rows([&b"a\n"[..]]).unwrap();
    drop(group);
    let e = writer.commit(commit(clock.as_ref(), &Data::new())).await.unwrap_err();
    assert!(e.message().contains("not closed"), "{e}");
    assert!(Listing::read(&vault).await.unwrap().backups.is_empty());
}

#[tokio::test]
async fn backups_are_found_by_time_label_and_id_and_misses_name_the_nearest() {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let vault = vault(&Process::new(&disk), &clock).await.unwrap();
    let empty = Listing::read(&vault).await.unwrap();
    let e = empty.find(&Selector::Latest).unwrap_err();
    assert_eq!(e.kind(), Kind::NotFound);
    assert!(e.hint_text().unwrap().contains("pgkeep backup"), "{e:?}");

    let mut heads = Vec::new();
    for label in ["before 1.4", "before 1.5"] {
        let held = lease(&vault, Purpose::Write).await.unwrap();
        let writer = write(&vault, &held, &data(1, 1)).await.unwrap();
        let mut options = commit(clock.as_ref(), &data(1, 1));
        options.label = Some(label.to_owned());
        heads.push(writer.commit(options).await.unwrap());
        held.release().await.unwrap();
        clock.advance(std::time::Duration::from_secs(3600));
    }
    let listing = Listing::read(&vault).await.unwrap();
    let found = |s: Selector| listing.find(&s).map(|h| h.backup.clone());
    assert_eq!(found(Selector::Latest).unwrap(), heads[1].backup);
    assert_eq!(found(Selector::Label("before 1.4".to_owned())).unwrap(), heads[0].backup);
    assert_eq!(found(Selector::At("2026-11-22T03:14:59Z".parse().unwrap())).unwrap(), heads[0].backup);
    assert_eq!(found(Selector::At(heads[1].consistent_at)).unwrap(), heads[1].backup);
    assert_eq!(found(Selector::Backup(heads[0].backup.clone())).unwrap(), heads[0].backup);
    let early = found(Selector::At("2026-11-22T02:00:00Z".parse().unwrap())).unwrap_err();
    assert!(early.message().contains("the oldest shows 2026-11-22T02:15:00Z"), "{early}");
    let label = found(Selector::Label("before 1.6".to_owned())).unwrap_err();
    assert!(label.hint_text().unwrap().contains("before 1."), "{label:?}");
    let store: SharedStore = Process::new(&disk);
    assert_eq!(listing::vaults(&store).await.unwrap(), ["db"]);
    let e = Vault::open(store, "other", clock as SharedClock).await.unwrap_err();
    assert_eq!(e.kind(), Kind::NotFound);
}

/// A store whose uploads of parts hang until told, and which notes how many bytes hang.
#[derive(Debug)]
struct Slow {
    inner: Arc<Process>,
    gate: tokio::sync::Semaphore,
    waiting: AtomicUsize,
}

#[async_trait]
impl Store for Slow {
    async fn get_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        self.inner.get_versioned(key).await
    }
    async fn put_body(&self, key: &Key, body: Body, mode: PutMode) -> StoreResult<ETag> {
        if key.as_str().starts_with("db/parts/") {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let _pass = self.gate.acquire().await;
        }
        self.inner.put_body(key, body, mode).await
    }
    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        self.inner.head(key, checksum).await
    }
    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_folders(&self, prefix: &str) -> StoreResult<Vec<String>> {
        self.inner.list_folders(prefix).await
    }
    async fn delete(&self, key: &Key) -> StoreResult<()> {
        self.inner.delete(key).await
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_holds_the_reader_back_at_the_budget() {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let slow = Arc::new(Slow { inner: Process::new(&disk), gate: tokio::sync::Semaphore::new(0), waiting: AtomicUsize::new(0) });
    let vault = Vault::open_or_create(Arc::<Slow>::clone(&slow), "db", "", clock.clone() as SharedClock).await.unwrap();
    let held = lease(&vault, Purpose::Write).await.unwrap();
    let writer = Writer::begin(&vault, &held, BackupId::generate(held_at()), Arc::new(Silent), Shutdown::new()).await.unwrap();
    // One row per part, each as large as a part may be, and as large when it is packed; one fits the budget, two do not.
    let row = |n: u64| {
        let mut row = vec![0; PART_MAX_BYTES];
        StdRng::seed_from_u64(n).fill(&mut row[..]);
        row.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = 0);
        row[PART_MAX_BYTES - 1] = b'\n';
        row
    };
    let mut group = writer.group("g");
    group.begin("s").unwrap();
    for n in 0..2 {
        assert!(group.rows([&row(n)[..]]).unwrap());
        let flushed = tokio::time::timeout(std::time::Duration::from_millis(300), group.flush()).await;
        assert_eq!(flushed.is_ok(), (n as usize + 1) * PART_MAX_BYTES <= IN_FLIGHT_BYTES, "row {n}");
    }
    assert_eq!(slow.waiting.load(Ordering::SeqCst), 1);
    slow.gate.add_permits(100);
}

fn held_at() -> jiff::Timestamp {
    "2026-11-22T02:15:00Z".parse().unwrap()
}

/// Ids count seconds and end in random digits: what happened last is decided by the time in the record.
#[tokio::test]
async fn runs_of_one_second_keep_their_order() {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let vault = vault(&Process::new(&disk), &clock).await.unwrap();
    let mut started = Vec::new();
    for _ in 0..100 {
        clock.advance(std::time::Duration::from_millis(30));
        let now = vault.clock().now();
        let run = Run::start(RunId::generate(now), RunKind::Backup, now, "test", None);
        run.save(&vault).await.unwrap();
        started.push(run.run);
    }
    started.reverse();
    let ids = |runs: Vec<Run>| runs.into_iter().map(|r| r.run).collect::<Vec<_>>();
    for count in [1, 40, 90, 1000] {
        let expected = &started[..count.min(started.len())];
        assert_eq!(ids(runs::newest(&vault, count).await.unwrap()), expected);
    }
    for nth in [0, 17, 50, 99] {
        let found = runs::newest_where(&vault, |r| r.started_at <= clock.now() - jiff::SignedDuration::from_millis(30 * nth))
            .await
            .unwrap();
        assert_eq!(found.unwrap().run, started[usize::try_from(nth).unwrap()]);
    }
}
