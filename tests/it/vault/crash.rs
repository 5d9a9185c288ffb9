//! A process killed at any request or between any two steps leaves only whole backups, and the next run converges.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pgkeep::base::Result;
use pgkeep::base::clock::ManualClock;
use pgkeep::base::ids::BackupId;
use pgkeep::repo::failpoints;
use pgkeep::repo::vault::Vault;

use super::support::*;

/// A vault with two backups, a marked third and the parts of a run that never committed, all of it past the grace period.
async fn prepared() -> (Arc<Disk>, Arc<ManualClock>, Vec<BackupId>) {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let process = Process::new(&disk);
    let vault = vault(&process, &clock).await.unwrap();
    let mut backups = Vec::new();
    for rows in [30, 60, 90] {
        backups.push(backup(&vault, &data(4, rows)).await.unwrap().backup);
        clock.advance(Duration::from_secs(3600));
    }
    let dying = Process::dying(&disk, process_requests(&disk, &clock).await - 6, true);
    backup(&vault_of(&dying, &clock).await, &data(5, 110)).await.unwrap_err();
    clock.advance(Duration::from_secs(3600));
    prune(&vault, &backups[..1]).await.unwrap();
    clock.advance(GRACE);
    (disk, clock, backups)
}

async fn vault_of(process: &Arc<Process>, clock: &Arc<ManualClock>) -> Vault {
    vault(process, clock).await.unwrap()
}

/// Requests of a whole backup of the larger data, tried on a copy.
async fn process_requests(disk: &Arc<Disk>, clock: &Arc<ManualClock>) -> u64 {
    let copy = copy(disk);
    let process = Process::new(&copy);
    backup(&vault_of(&process, clock).await, &data(5, 110)).await.unwrap();
    process.requests()
}

/// One backup, then one prune that marks the second backup and sweeps the first.
async fn work(vault: &Vault, backups: &[BackupId]) -> Result<()> {
    backup(vault, &data(5, 100)).await?;
    prune(vault, &backups[1..2]).await?;
    Ok(())
}

/// After any crash: everything that is listed is whole, and running again reaches the same end.
async fn converges(disk: &Arc<Disk>, clock: &Arc<ManualClock>, backups: &[BackupId], end: &BTreeSet<String>, what: &str) {
    println!("{what}");
    let listing = check_invariants(disk, clock).await;
    assert!(listing.backups.iter().any(|h| h.backup == backups[2]), "{what}: an untouched backup vanished");
    // The dead process's lease runs out; what it uploaded is used.
    clock.advance(Duration::from_secs(600));
    let vault = vault_of(&Process::new(disk), clock).await;
    let parts_before = disk.keys("parts/").len();
    let head = backup(&vault, &data(5, 100)).await.unwrap();
    assert_eq!(disk.keys("parts/").len(), parts_before + head.counts.new_parts as usize);
    for _ in 0..3 {
        // Only the third backup and this one stay.
        let drop: Vec<BackupId> = check_invariants(disk, clock).await.backups.into_iter().map(|h| h.backup).collect();
        let drop: Vec<BackupId> = drop.into_iter().filter(|b| *b != backups[2] && *b != head.backup).collect();
        prune(&vault, &drop).await.unwrap();
        clock.advance(GRACE + Duration::from_secs(1));
    }
    let (plan, _) = prune(&vault, &[]).await.unwrap();
    assert!(plan.is_empty(), "{what}: {plan:?}");
    let listing = check_invariants(disk, clock).await;
    assert_eq!(
        listing.backups.iter().map(|h| h.backup.clone()).collect::<Vec<_>>(),
        [backups[2].clone(), head.backup.clone()],
        "{what}"
    );
    assert_eq!(read(&vault, &head).await.unwrap(), data(5, 100));
    assert_eq!(&parts(disk), end, "{what}: the parts left are not those that the two backups need");
    assert!(disk.keys("tombstones/").is_empty() && listing.leftovers.is_empty(), "{what}");
}

fn parts(disk: &Disk) -> BTreeSet<String> {
    disk.keys("parts/").into_iter().map(|k| k.to_string()).collect()
}

/// The parts of the two backups that stay, from a run without a crash.
async fn expected_end() -> BTreeSet<String> {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let vault = vault(&Process::new(&disk), &clock).await.unwrap();
    backup(&vault, &data(4, 90)).await.unwrap();
    backup(&vault, &data(5, 100)).await.unwrap();
    parts(&disk)
}

#[tokio::test]
async fn killed_at_any_request() {
    let end = expected_end().await;
    let (disk, clock, backups) = prepared().await;
    let whole = Process::new(&copy(&disk));
    work(&vault_of(&whole, &clock).await, &backups).await.unwrap();
    assert!(whole.requests() > 60, "{} requests", whole.requests());
    let start = clock.clone();
    // Request 0 opens the vault.
    for at in 1..whole.requests() {
        for applied in [false, true] {
            let (disk, clock) = (copy(&disk), ManualClock::new(pgkeep::base::clock::Clock::now(start.as_ref())));
            let process = Process::dying(&disk, at, applied);
            work(&vault_of(&process, &clock).await, &backups).await.expect_err("it was killed");
            process.kill();
            converges(&disk, &clock, &backups, &end, &format!("killed at request {at}, applied: {applied}")).await;
        }
    }
}

#[tokio::test]
async fn killed_between_any_two_steps() {
    let end = expected_end().await;
    let (disk, clock, backups) = prepared().await;
    let reached = Arc::new(Reached::default());
    let vault = vault_of(&Process::new(&copy(&disk)), &clock).await.with_failpoints(reached.clone());
    work(&vault, &backups).await.unwrap();
    let now = pgkeep::base::clock::Clock::now(clock.as_ref());
    for name in failpoints::ALL {
        assert!(reached.0.lock().unwrap().contains_key(name), "{name} is not reached");
        let (disk, clock) = (copy(&disk), ManualClock::new(now));
        let vault = vault_of(&Process::new(&disk), &clock).await.with_failpoints(Arc::new(DieAt(name)));
        work(&vault, &backups).await.expect_err("it died");
        converges(&disk, &clock, &backups, &end, name).await;
    }
    assert_eq!(reached.0.lock().unwrap().len(), failpoints::ALL.len(), "failpoints::ALL is not all");
}
