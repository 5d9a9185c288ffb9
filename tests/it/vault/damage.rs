//! Damaged vaults: verification says what is wrong and whom it hits, reading refuses, pruning stops, the next backup heals what it can.

use std::sync::Arc;
use std::time::Duration;

use pgkeep::base::clock::{ManualClock, SharedClock};
use pgkeep::base::ids::{PartId, RunId};
use pgkeep::base::progress::Silent;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::base::{Error, Kind};
use pgkeep::repo::head::Head;
use pgkeep::repo::lease::Purpose;
use pgkeep::repo::listing::{Listing, Selector};
use pgkeep::repo::proofs::{self, Level, Proof};
use pgkeep::repo::reader::read_contents;
use pgkeep::repo::readers::Reading;
use pgkeep::repo::runs::{self, Run, RunKind, RunState};
use pgkeep::repo::vault::Vault;
use pgkeep::repo::verify::{self, Finding, Severity};
use pgkeep::repo::{gc, pins};
use pgkeep::store::{Body, ETag, Key, ObjectMeta, PutMode, Store, StoreResult};

use super::support::*;

struct Damaged {
    disk: Arc<Disk>,
    clock: Arc<ManualClock>,
    vault: Vault,
    head: Head,
}

async fn whole() -> Damaged {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let vault = vault(&Process::new(&disk), &clock).await.unwrap();
    let head = backup(&vault, &data(4, 60)).await.unwrap();
    clock.advance(Duration::from_secs(60));
    Damaged { disk, clock, vault, head }
}

impl Damaged {
    /// The key of part `n`, its id, and the streams that it holds rows of.
    async fn part(&self, n: u64) -> (Key, PartId, Vec<String>) {
        let contents = read_contents(&self.vault, &self.head).await.unwrap();
        let id = contents.parts[n as usize].id;
        let hit = contents.streams.iter().filter(|s| s.extents.iter().any(|e| e.part == n)).map(|s| s.name.clone());
        (self.vault.layout().part(&id), id, hit.collect())
    }

    async fn presence(&self) -> Vec<Finding> {
        verify::presence(&self.vault, &self.head, &Silent, &Shutdown::new()).await.unwrap().findings
    }

    async fn content(&self) -> Vec<Finding> {
        verify::content(&self.vault, &self.head, &Silent, &Shutdown::new()).await.unwrap().findings
    }
}

fn ids(findings: &[Finding]) -> Vec<(&str, &str)> {
    findings.iter().map(|f| (f.id.as_str(), f.object.as_str())).collect()
}

#[tokio::test]
async fn every_missing_and_changed_part_is_named_with_the_streams_it_hits() {
    let d = whole().await;
    assert_eq!((d.presence().await, d.content().await), (vec![], vec![]));
    let (missing, missing_id, missing_hits) = d.part(0).await;
    let (torn, torn_id, _) = d.part(1).await;
    let (flipped, flipped_id, flipped_hits) = d.part(2).await;
    d.disk.objects.lock().unwrap().remove(&missing);
    d.disk.change(&torn, |bytes| bytes.truncate(bytes.len() / 2));
    d.disk.change(&flipped, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    for findings in [d.presence().await, d.content().await] {
        let mut expected = [
            ("part-damaged", torn_id.to_string()),
            ("part-damaged", flipped_id.to_string()),
            ("part-missing", missing_id.to_string()),
        ];
        expected.sort();
        assert_eq!(ids(&findings), expected.iter().map(|(a, b)| (*a, b.as_str())).collect::<Vec<_>>());
        let of = |id: PartId| findings.iter().find(|f| f.object == id.to_string()).unwrap();
        assert_eq!(of(missing_id).streams, missing_hits);
        assert_eq!(of(flipped_id).streams, flipped_hits);
        assert!(!missing_hits.is_empty());
    }
    let e = read(&d.vault, &d.head).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Integrity);
    assert!(e.full_message().contains("part"), "{e}");
}

#[tokio::test]
async fn the_next_backup_puts_missing_and_torn_parts_back() {
    let d = whole().await;
    let (missing, ..) = d.part(0).await;
    let (torn, ..) = d.part(1).await;
    d.disk.objects.lock().unwrap().remove(&missing);
    d.disk.change(&torn, |bytes| bytes.truncate(bytes.len() / 2));
    let next = backup(&d.vault, &data(4, 60)).await.unwrap();
    assert_eq!(next.counts.new_parts, 2);
    assert_eq!((d.presence().await, d.content().await), (vec![], vec![]), "the older backup is whole again too");
    assert_eq!(*d.disk.overwritten.lock().unwrap(), [torn]);
}

#[tokio::test]
async fn a_part_stored_otherwise_but_whole_is_a_warning() {
    let d = whole().await;
    let (key, id, _) = d.part(0).await;
    d.disk.change(&key, |bytes| {
        let plain = zstd::decode_all(&bytes[..]).unwrap();
        *bytes = zstd::bulk::compress(&plain, 19).unwrap();
    });
    let findings = d.presence().await;
    assert_eq!(ids(&findings), [("part-differs", id.to_string().as_str())]);
    assert_eq!((findings[0].severity, d.content().await), (Severity::Warning, vec![]));
}

#[tokio::test]
async fn damaged_contents_are_found_and_stop_the_prune() {
    for (id, words) in [("contents-missing", "missing"), ("contents-damaged", "damaged")] {
        let d = whole().await;
        let next = backup(&d.vault, &data(4, 61)).await.unwrap();
        let key = d.vault.layout().contents(&d.head.backup);
        match id {
            "contents-missing" => drop(d.disk.objects.lock().unwrap().remove(&key)),
            _ => d.disk.change(&key, |bytes| bytes[20] ^= 1),
        }
        for findings in [d.presence().await, d.content().await] {
            assert_eq!(ids(&findings), [(id, d.head.backup.as_str())]);
        }
        assert_eq!(read(&d.vault, &d.head).await.unwrap_err().kind(), Kind::Integrity);
        let before = d.disk.objects.lock().unwrap().len();
        d.clock.advance(Duration::from_secs(600));
        let e = prune(&d.vault, &[next.backup]).await.unwrap_err();
        assert_eq!(e.kind(), Kind::Integrity);
        assert!(e.message().contains(words) && e.message().contains("nothing is removed"), "{e}");
        assert!(d.disk.objects.lock().unwrap().len() <= before + 1, "the lease at most");
        // A new backup is possible all the same.
        d.clock.advance(Duration::from_secs(600));
        backup(&d.vault, &data(4, 62)).await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_head_hides_no_other_and_a_newer_one_is_refused() {
    for (change, kind) in [("\"x", Kind::Integrity), ("{\"format\": 7}", Kind::Unsupported)] {
        let d = whole().await;
        let next = backup(&d.vault, &data(4, 61)).await.unwrap();
        d.disk.change(&d.vault.layout().head(&d.head.backup), |bytes| *bytes = change.into());
        let listing = Listing::read(&d.vault).await.unwrap();
        assert_eq!(listing.find(&Selector::Latest).unwrap().backup, next.backup);
        assert_eq!(listing.find(&Selector::Backup(d.head.backup.clone())).unwrap_err().kind(), kind);
        assert_eq!(gc::plan(&d.vault, &[], GRACE).await.unwrap_err().kind(), Kind::Integrity);
    }
    let d = whole().await;
    d.disk.change(&d.vault.layout().vault(), |bytes| {
        *bytes = String::from_utf8_lossy(bytes).replace("\"format\": 1", "\"format\": 2").into();
    });
    let reopened = Vault::open(Process::new(&d.disk), "db", d.clock.clone() as SharedClock).await.unwrap_err();
    assert_eq!(reopened.kind().exit_code(), 8);
}

#[tokio::test]
async fn pins_readers_changes_and_the_last_backup_stop_a_prune() {
    let d = whole().await;
    let next = backup(&d.vault, &data(4, 61)).await.unwrap();
    let drop = |backup| gc::Drop { backup, reasons: vec!["old".to_owned()] };
    pins::pin(&d.vault, &d.head.backup, Some("audit"), "me@here").await.unwrap();
    let pinned = gc::plan(&d.vault, &[drop(d.head.backup.clone())], GRACE).await.unwrap_err();
    assert!(pinned.kind() == Kind::Conflict && pinned.message().contains("pinned"), "{pinned}");
    pins::unpin(&d.vault, &d.head.backup).await.unwrap();
    assert_eq!(pins::unpin(&d.vault, &d.head.backup).await.unwrap_err().kind(), Kind::NotFound);
    let all = [drop(d.head.backup.clone()), drop(next.backup.clone())];
    assert_eq!(gc::plan(&d.vault, &all, GRACE).await.unwrap_err().kind(), Kind::Conflict);

    // The vault changes between plan and apply.
    let plan = gc::plan(&d.vault, &all[..1], GRACE).await.unwrap();
    backup(&d.vault, &data(4, 62)).await.unwrap();
    let held = lease(&d.vault, Purpose::Sweep).await.unwrap();
    let e = pgkeep::repo::sweep::apply(&d.vault, &held, &plan, &Shutdown::new()).await.unwrap_err();
    assert!(e.kind() == Kind::Conflict && e.message().contains("changed since the plan"), "{e}");
    held.release().await.unwrap();
    assert_eq!(Listing::read(&d.vault).await.unwrap().backups.len(), 3);

    // A reader holds the sweep back, and only that.
    let reading =
        Reading::begin(&d.vault, &RunId::generate(d.head.started_at), &d.head.backup, "restore", owner("restore")).await.unwrap();
    prune(&d.vault, std::slice::from_ref(&d.head.backup)).await.unwrap();
    d.clock.advance(GRACE + Duration::from_secs(1));
    reading.renew().await.unwrap();
    let (plan, _) = prune(&d.vault, &[]).await.unwrap();
    assert!(plan.sweep.is_empty() && plan.waiting[0].reason.contains("reads it"), "{plan:?}");
    assert_eq!(read(&d.vault, &d.head).await.unwrap(), data(4, 60));
    reading.finish().await.unwrap();
    let (_, pruned) = prune(&d.vault, &[]).await.unwrap();
    assert_eq!(pruned.swept, std::slice::from_ref(&d.head.backup));
    assert!(pruned.parts.count > 0);
    let held = lease(&d.vault, Purpose::Write).await.unwrap();
    assert_eq!(gc::undelete(&d.vault, &held, &d.head.backup).await.unwrap_err().kind(), Kind::NotFound);
    let late = Reading::begin(&d.vault, &RunId::generate(d.head.started_at), &d.head.backup, "restore", owner("restore")).await;
    assert_eq!(late.unwrap_err().kind(), Kind::NotFound);
    check_invariants(&d.disk, &d.clock).await;
}

#[tokio::test]
async fn runs_and_proofs_are_kept_and_stale_runs_become_failed() {
    let d = whole().await;
    let now = || pgkeep::base::clock::Clock::now(d.clock.as_ref());
    let mut dead = Run::start(RunId::from(&d.head.backup), RunKind::Backup, now(), "here", Some("nightly"));
    dead.save(&d.vault).await.unwrap();
    d.clock.advance(Duration::from_secs(60));
    let restore = Run::start(RunId::generate(now()), RunKind::Restore, now(), "here", None);
    restore.save(&d.vault).await.unwrap();
    d.clock.advance(Duration::from_secs(60));
    let mut own = Run::start(RunId::generate(now()), RunKind::Backup, now(), "here", None);
    own.save(&d.vault).await.unwrap();
    let held = lease(&d.vault, Purpose::Write).await.unwrap();
    assert_eq!(runs::fail_stale(&d.vault, &held, &own.run).await.unwrap(), std::slice::from_ref(&dead.run));
    own.end(now(), Err(&Error::denied("wrong password").hint("set it")));
    own.save(&d.vault).await.unwrap();
    let all = runs::newest(&d.vault, 10).await.unwrap();
    assert_eq!(all.iter().map(|r| r.state).collect::<Vec<_>>(), [RunState::Failed, RunState::Running, RunState::Failed]);
    assert_eq!(all[0].error.as_ref().unwrap().hint.as_deref(), Some("set it"));
    dead.end(now(), Ok(()));
    assert_eq!(dead.state, RunState::Succeeded);

    let proof = Proof {
        backup: d.head.backup.clone(),
        level: Level::Restore,
        at: now(),
        passed: true,
        seconds: 1.5,
        tool: "pgkeep".to_owned(),
        findings: vec![],
        details: serde_json::Value::Null,
    };
    let later = Proof { level: Level::Content, at: now() + jiff::SignedDuration::from_millis(10), ..proof.clone() };
    for proof in [&later, &proof] {
        proofs::record(&d.vault, proof).await.unwrap();
    }
    let both = [proof, later];
    assert_eq!(proofs::of(&d.vault, &d.head.backup).await.unwrap(), both);
    assert_eq!(proofs::all(&d.vault).await.unwrap(), both);
}

#[tokio::test]
async fn one_damaged_side_document_hides_nothing_and_stops_only_a_prune() {
    let d = whole().await;
    let next = backup(&d.vault, &data(4, 61)).await.unwrap();
    let put = |key: &Key, text: &'static str| d.disk.objects.lock().unwrap().insert(key.clone(), text.into());
    let layout = d.vault.layout();
    let proof = Proof {
        backup: next.backup.clone(),
        level: Level::Content,
        at: next.started_at,
        passed: true,
        seconds: 1.0,
        tool: String::new(),
        findings: vec![],
        details: serde_json::Value::Null,
    };
    proofs::record(&d.vault, &proof).await.unwrap();
    put(&layout.proof(&d.head.backup, d.head.started_at, "content", true), "{");
    assert_eq!(proofs::all(&d.vault).await.unwrap(), [proof]);

    put(&layout.pin(&d.head.backup), "");
    assert_eq!(pins::all(&d.vault).await.unwrap()[0].backup, d.head.backup, "an unreadable pin protects");
    let drop = gc::Drop { backup: d.head.backup.clone(), reasons: vec!["old".to_owned()] };
    assert_eq!(gc::plan(&d.vault, &[drop], GRACE).await.unwrap_err().kind(), Kind::Conflict);
    pins::unpin(&d.vault, &d.head.backup).await.unwrap();
    assert_eq!(pins::all(&d.vault).await.unwrap(), vec![]);

    let of_parts = layout.parts_tombstone(&RunId::generate(d.head.started_at));
    for key in [of_parts, layout.tombstone(&d.head.backup)] {
        put(&key, "{\"x\": 1}");
        let listing = Listing::read(&d.vault).await.unwrap();
        assert_eq!(listing.find(&Selector::Latest).unwrap().backup, next.backup);
        let e = gc::plan(&d.vault, &[], GRACE).await.unwrap_err();
        assert!(e.kind() == Kind::Integrity && e.message().contains("tombstone"), "{e}");
    }
    let listing = Listing::read(&d.vault).await.unwrap();
    assert_eq!((listing.backups.len(), &listing.damaged[0].backup), (1, &d.head.backup), "it may be marked: it is not offered");
    assert_eq!(listing.find(&Selector::Backup(d.head.backup.clone())).unwrap_err().kind(), Kind::Integrity);
    backup(&d.vault, &data(4, 62)).await.unwrap();
}

/// A store that loses one part between listing and look, and sees by itself that another is damaged.
#[tokio::test]
async fn parts_that_vanish_or_that_the_store_calls_damaged_are_findings() {
    use pgkeep::store::faulty::{Fault, FaultyStore, Operation};
    let d = whole().await;
    let (gone, gone_id, _) = d.part(0).await;
    let (bad, bad_id, _) = d.part(1).await;
    let (disk, vanishing) = (d.disk.clone(), gone.clone());
    let store = FaultyStore::new(Process::new(&d.disk)).rule(move |request| {
        let (disk, vanishing) = (disk.clone(), vanishing.clone());
        (request.operation == Operation::Head && request.key == vanishing.as_str()).then(|| {
            Fault::call(move |_| {
                disk.objects.lock().unwrap().remove(&vanishing);
            })
        })
    });
    let vault = Vault::open(Arc::new(store), "db", d.clock.clone() as SharedClock).await.unwrap();
    let found = verify::presence(&vault, &d.head, &Silent, &Shutdown::new()).await.unwrap().findings;
    assert_eq!(ids(&found), [("part-missing", gone_id.to_string().as_str())]);

    let store = Arc::new(Noticing { inner: Process::new(&d.disk), key: bad });
    let vault = Vault::open(store, "db", d.clock.clone() as SharedClock).await.unwrap();
    let found = verify::content(&vault, &d.head, &Silent, &Shutdown::new()).await.unwrap().findings;
    let mut expected = [("part-damaged", bad_id.to_string()), ("part-missing", gone_id.to_string())];
    expected.sort();
    assert_eq!(ids(&found), expected.iter().map(|(id, part)| (*id, part.as_str())).collect::<Vec<_>>());
}

/// Finds one object's checksum wrong whenever it is read.
#[derive(Debug)]
struct Noticing {
    inner: Arc<Process>,
    key: Key,
}

#[async_trait::async_trait]
impl Store for Noticing {
    async fn get_versioned(&self, key: &Key) -> StoreResult<(bytes::Bytes, ETag)> {
        if *key == self.key {
            return Err(Error::integrity(format!("'{key}' does not have its checksum")).into());
        }
        self.inner.get_versioned(key).await
    }
    async fn put_body(&self, key: &Key, body: Body, mode: PutMode) -> StoreResult<ETag> {
        self.inner.put_body(key, body, mode).await
    }
    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        self.inner.head(key, checksum).await
    }
    fn list(&self, prefix: &str) -> futures::stream::BoxStream<'_, StoreResult<ObjectMeta>> {
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
