//! Years of backups, proofs and runs cost a command what it needs of them, and no request each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgkeep::base::clock::{ManualClock, SharedClock};
use pgkeep::base::ids::{PartId, RunId};
use pgkeep::base::progress::Silent;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::repo::gc;
use pgkeep::repo::lease::Purpose;
use pgkeep::repo::listing::{Ids, Listing};
use pgkeep::repo::proofs::{self, Level, Proof};
use pgkeep::repo::runs::{self, Run, RunKind, RunState};
use pgkeep::repo::vault::Vault;
use pgkeep::repo::verify::Presence;
use pgkeep::store::faulty::{FaultyStore, Request};

use super::support::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A vault whose requests are written down.
struct Watched {
    vault: Vault,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Watched {
    async fn of(disk: &Arc<Disk>, clock: &Arc<ManualClock>) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let store = FaultyStore::new(Process::new(disk)).rule(move |request| {
            seen.lock().unwrap().push(request.clone());
            None
        });
        let vault = Vault::open(Arc::new(store), "db", Arc::<ManualClock>::clone(clock) as SharedClock).await.unwrap();
        requests.lock().unwrap().clear();
        Self { vault, requests }
    }

    /// The requests since the last call, by operation and folder.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for Request { operation, key, .. } in self.requests.lock().unwrap().drain(..) {
            let folder = key.split('/').nth(1).unwrap_or_default();
            *counts.entry(format!("{operation:?} {folder}")).or_default() += 1;
        }
        counts
    }
}

/// `nights` backups of a database of `rows` rows a table that grows, each with a run, a proof of presence, and now and then a drill.
async fn history(disk: &Arc<Disk>, clock: &Arc<ManualClock>, nights: usize, rows: usize) {
    let vault = vault(&Process::new(disk), clock).await.unwrap();
    for night in 0..nights {
        let head = backup(&vault, &data(3, rows + night)).await.unwrap();
        let mut run = Run::start(RunId::from(&head.backup), RunKind::Backup, head.started_at, "here", None);
        run.end(head.committed_at, Ok(()));
        run.save(&vault).await.unwrap();
        let level = if night % 7 == 0 { Level::Restore } else { Level::Presence };
        record(&vault, &head.backup, level, true).await;
        clock.advance(DAY);
    }
}

async fn record(vault: &Vault, backup: &pgkeep::base::ids::BackupId, level: Level, passed: bool) {
    let proof = Proof {
        backup: backup.clone(),
        level,
        at: vault.clock().now(),
        passed,
        seconds: 1.0,
        tool: String::new(),
        findings: Vec::new(),
        details: serde_json::Value::Null,
    };
    proofs::record(vault, &proof).await.unwrap();
}

/// One night of a database that did not change: what `backup` asks of the vault.
async fn one_backup(vault: &Vault, rows: usize) {
    let lease = super::support::lease(vault, Purpose::Write).await.unwrap();
    let mut run = Run::start(RunId::generate(vault.clock().now()), RunKind::Backup, vault.clock().now(), "here", None);
    run.save(vault).await.unwrap();
    runs::fail_stale(vault, &lease, &run.run).await.unwrap();
    let rows = data(3, rows);
    let head = write(vault, &lease, &rows).await.unwrap().commit(commit(vault.clock().as_ref(), &rows)).await.unwrap();
    assert_eq!(head.counts.new_parts, 0);
    run.end(vault.clock().now(), Ok(()));
    run.save(vault).await.unwrap();
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_backup_takes_as_many_requests_after_years_as_in_the_first_month() {
    let mut seen = Vec::new();
    for nights in [20, 200] {
        let (disk, clock) = (Arc::new(Disk::default()), clock());
        history(&disk, &clock, nights, 20).await;
        let watched = Watched::of(&disk, &clock).await;
        one_backup(&watched.vault, 20 + nights - 1).await;
        seen.push(watched.counts());
    }
    assert_eq!(seen[0], seen[1]);
    let total: usize = seen[0].values().sum();
    assert!(total <= 45, "{total} requests: {:#?}", seen[0]);
    let count = |what: &str| seen[0].get(what).copied().unwrap_or_default();
    // Four heads to find the newest, and our own read back; the newest contents, and our own.
    assert!(count("Get backups") <= 4 + 1 + 2, "{:#?}", seen[0]);
    assert_eq!((count("Head parts"), count("Get parts"), count("List parts")), (0, 0, 2), "{:#?}", seen[0]);
    assert_eq!(count("Get proofs"), 0, "{:#?}", seen[0]);
}

#[tokio::test]
async fn listing_and_planning_read_each_document_once_and_no_proof() {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    history(&disk, &clock, 100, 20).await;
    let watched = Watched::of(&disk, &clock).await;
    let (listing, verdicts) = (Listing::read(&watched.vault).await.unwrap(), proofs::verdicts(&watched.vault).await.unwrap());
    assert_eq!((listing.backups.len(), verdicts.len()), (100, 100));
    let expected = |more: &[(&str, usize)]| -> BTreeMap<String, usize> {
        let listings = [("List backups", 1), ("List tombstones", 1), ("Get backups", 100)];
        listings.iter().chain(more).map(|(what, n)| ((*what).to_owned(), *n)).collect()
    };
    assert_eq!(watched.counts(), expected(&[("List proofs", 1)]));

    let drop: Vec<gc::Drop> =
        listing.backups.iter().take(90).map(|h| gc::Drop { backup: h.backup.clone(), reasons: vec!["old".to_owned()] }).collect();
    let plan = gc::plan(&watched.vault, &drop, GRACE).await.unwrap();
    assert_eq!((plan.mark.len(), plan.unreferenced.count), (90, 0));
    let mut planned = expected(&[("List parts", 1), ("List pins", 1), ("List readers", 1), ("Get lease.json", 1)]);
    planned.insert("Get backups".to_owned(), 200);
    assert_eq!(watched.counts(), planned);

    let newest = Ids::read(&watched.vault).await.unwrap().newest(|_| true, |_| true).await.unwrap().unwrap();
    assert_eq!(newest, listing.backups[99]);
    let oldest = &listing.backups[0].backup;
    let ids = Ids::read(&watched.vault).await.unwrap();
    assert_eq!(ids.newest(|id| id == oldest, |_| true).await.unwrap().unwrap().backup, *oldest);
    assert_eq!(ids.newest(|_| true, |h| h.backup < listing.backups[50].backup).await.unwrap().unwrap(), listing.backups[49]);
    assert_eq!(ids.newest(|_| true, |_| false).await.unwrap(), None);
}

#[tokio::test]
async fn a_marked_backup_is_not_the_newest() {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    history(&disk, &clock, 3, 20).await;
    let vault = vault(&Process::new(&disk), &clock).await.unwrap();
    let listing = Listing::read(&vault).await.unwrap();
    prune(&vault, std::slice::from_ref(&listing.backups[2].backup)).await.unwrap();
    let newest = Ids::read(&vault).await.unwrap().newest(|_| true, |_| true).await.unwrap().unwrap();
    assert_eq!(newest.backup, listing.backups[1].backup);
}

#[tokio::test]
async fn verifying_all_backups_asks_for_each_part_once() {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    history(&disk, &clock, 12, 200).await;
    let parts = disk.keys("parts/").len();
    let watched = Watched::of(&disk, &clock).await;
    let listing = Listing::read(&watched.vault).await.unwrap();
    watched.counts();
    let presence = Presence::new(&watched.vault).await.unwrap();
    let mut looked_at = 0;
    for head in &listing.backups {
        let report = presence.check(head, &Silent, &Shutdown::new()).await.unwrap();
        assert_eq!(report.findings, []);
        looked_at += report.parts as usize;
    }
    let counts = watched.counts();
    assert_eq!((counts["Head parts"], counts["List parts"]), (parts, 1));
    assert!(looked_at > parts, "backups share parts");

    // What one backup shares with others is damaged for all of them.
    let first = &listing.backups[0];
    let shared: PartId = pgkeep::repo::reader::read_contents(&watched.vault, first).await.unwrap().parts[0].id;
    disk.objects.lock().unwrap().remove(&watched.vault.layout().part(&shared));
    let presence = Presence::new(&watched.vault).await.unwrap();
    let mut damaged = 0;
    for head in &listing.backups {
        let report = presence.check(head, &Silent, &Shutdown::new()).await.unwrap();
        damaged += usize::from(!report.passed());
    }
    let mut naming = 0;
    for head in &listing.backups {
        let contents = pgkeep::repo::reader::read_contents(&watched.vault, head).await.unwrap();
        naming += usize::from(contents.parts.iter().any(|p| p.id == shared));
    }
    assert_eq!(damaged, naming);
    assert!(naming > 0);
}

#[tokio::test]
async fn a_killed_run_is_noticed_after_a_long_silence_and_behind_many_others() {
    for (silent_days, later) in [(0, 0), (400, 0), (1, 40)] {
        let (disk, clock) = (Arc::new(Disk::default()), clock());
        history(&disk, &clock, 3, 20).await;
        let vault = vault(&Process::new(&disk), &clock).await.unwrap();
        let killed = Run::start(RunId::generate(vault.clock().now()), RunKind::Backup, vault.clock().now(), "here", None);
        killed.save(&vault).await.unwrap();
        for _ in 0..later {
            clock.advance(Duration::from_secs(3600));
            let now = vault.clock().now();
            let mut run = Run::start(RunId::generate(now), RunKind::Verify, now, "here", None);
            run.end(now, Ok(()));
            run.save(&vault).await.unwrap();
        }
        clock.advance(DAY * silent_days);
        let held = lease(&vault, Purpose::Write).await.unwrap();
        let own = RunId::generate(vault.clock().now());
        assert_eq!(
            runs::fail_stale(&vault, &held, &own).await.unwrap(),
            std::slice::from_ref(&killed.run),
            "{silent_days} {later}"
        );
        let newest = runs::newest_where(&vault, |r| r.kind == RunKind::Backup).await.unwrap().unwrap();
        assert_eq!((newest.run, newest.state), (killed.run, RunState::Failed));
    }
}

#[tokio::test]
async fn a_verdict_is_read_from_the_key_and_of_older_proofs_from_the_document() {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    history(&disk, &clock, 2, 20).await;
    let watched = Watched::of(&disk, &clock).await;
    let vault = &watched.vault;
    let head = Listing::read(vault).await.unwrap().backups.remove(1);
    record(vault, &head.backup, Level::Content, false).await;
    // As the first versions named them.
    let (old, text) = {
        let objects = disk.objects.lock().unwrap();
        let (key, text) = objects.iter().find(|(k, _)| k.name().ends_with("-content-failed.json")).unwrap();
        (key.as_str().replace("-failed", "").parse().unwrap(), text.clone())
    };
    disk.objects.lock().unwrap().insert(old, text);
    watched.counts();
    let verdicts = proofs::verdicts(vault).await.unwrap();
    assert_eq!(watched.counts()["Get proofs"], 1);
    let of: Vec<(Level, bool)> = verdicts[&head.backup].iter().map(|v| (v.level, v.passed)).collect();
    assert_eq!(of, [(Level::Presence, true), (Level::Content, false), (Level::Content, false)]);
    assert_eq!(proofs::failed(vault).await.unwrap().len(), 2);
    let listed = |requests: &BTreeMap<String, usize>| requests.get("Get proofs").copied();
    assert_eq!(listed(&watched.counts()), Some(2), "only those that say that something failed are read");
}
