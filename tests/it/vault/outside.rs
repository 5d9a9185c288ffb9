//! What backups own outside of the store goes with them: after the head, before the tombstone, whenever the prune is killed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pgkeep::base::clock::{Clock as _, ManualClock};
use pgkeep::base::ids::BackupId;
use pgkeep::base::{Error, Result};
use pgkeep::repo::failpoints;
use pgkeep::repo::head::Head;
use pgkeep::repo::listing::Listing;
use pgkeep::repo::sweep::Outside;

use super::support::*;

/// One thing of each backup, some of which cannot be deleted now.
#[derive(Debug, Default)]
struct Things {
    there: Mutex<BTreeSet<BackupId>>,
    held: Mutex<BTreeSet<BackupId>>,
    broken: Mutex<BTreeSet<BackupId>>,
}

#[async_trait]
impl Outside for Things {
    async fn release(&self, head: &Head) -> Result<Option<String>> {
        if self.broken.lock().unwrap().contains(&head.backup) {
            return Err(Error::denied("not allowed"));
        }
        if self.held.lock().unwrap().contains(&head.backup) {
            return Ok(Some("it is in use".to_owned()));
        }
        self.there.lock().unwrap().remove(&head.backup);
        Ok(None)
    }
}

/// Three backups, the first two of them marked and past their grace period.
async fn prepared() -> (Arc<Disk>, Arc<ManualClock>, Vec<BackupId>) {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let vault = vault(&Process::new(&disk), &clock).await.unwrap();
    let mut backups = Vec::new();
    for rows in [30, 60, 90] {
        backups.push(backup(&vault, &data(4, rows)).await.unwrap().backup);
        clock.advance(Duration::from_secs(3600));
    }
    prune(&vault, &backups[..2]).await.unwrap();
    clock.advance(GRACE);
    (disk, clock, backups)
}

/// A listed backup has its thing, and a thing that is there is known: its backup is listed, or has a tombstone.
async fn check(disk: &Arc<Disk>, clock: &Arc<ManualClock>, things: &Things, what: &str) {
    let vault = vault(&Process::new(disk), clock).await.unwrap();
    let listing = Listing::read(&vault).await.unwrap();
    let there = things.there.lock().unwrap().clone();
    let undeletable = listing.marked.iter().map(|t| &t.backup);
    for backup in listing.backups.iter().map(|h| &h.backup).chain(undeletable) {
        assert!(there.contains(backup), "{what}: {backup} can be restored or undeleted, and its thing is gone");
    }
    let tombstones = listing.marked.iter().chain(&listing.half_swept).map(|t| &t.backup);
    let known: BTreeSet<&BackupId> = listing.backups.iter().map(|h| &h.backup).chain(tombstones).collect();
    for backup in &there {
        assert!(known.contains(backup), "{what}: the thing of {backup} stays, and nothing knows it");
    }
}

#[tokio::test]
async fn killed_anywhere_a_sweep_leaves_nothing_unknown_and_no_backup_without_its_own() {
    let (disk, clock, backups) = prepared().await;
    let now = clock.now();
    let steps = failpoints::ALL.iter().filter(|name| name.starts_with("sweep:") || name.starts_with("prune:"));
    for name in steps {
        let (disk, clock) = (copy(&disk), ManualClock::new(now));
        let things = Things { there: Mutex::new(backups.iter().cloned().collect()), ..Things::default() };
        let dying = vault(&Process::new(&disk), &clock).await.unwrap().with_failpoints(Arc::new(DieAt(name)));
        prune_with(&dying, &[], &things).await.expect_err("it died");
        check(&disk, &clock, &things, name).await;
        clock.advance(Duration::from_secs(600));
        prune_with(&vault(&Process::new(&disk), &clock).await.unwrap(), &[], &things).await.unwrap();
        check(&disk, &clock, &things, name).await;
        assert_eq!(*things.there.lock().unwrap(), BTreeSet::from([backups[2].clone()]), "{name}");
        // Parts that nothing names any more were marked, and wait for their own grace period.
        let left = disk.keys("tombstones/").into_iter().filter(|key| !key.name().starts_with("parts-"));
        assert_eq!(left.count(), 0, "{name}");
    }
}

#[tokio::test]
async fn what_cannot_go_yet_keeps_its_tombstone_and_nobody_else_waits_for_it() {
    let (disk, clock, backups) = prepared().await;
    let things = Things { there: Mutex::new(backups.iter().cloned().collect()), ..Things::default() };
    let vault = vault(&Process::new(&disk), &clock).await.unwrap();
    things.held.lock().unwrap().insert(backups[0].clone());
    let (_, pruned) = prune_with(&vault, &[], &things).await.unwrap();
    assert_eq!((pruned.swept, pruned.held.len()), (vec![backups[1].clone()], 1));
    check(&disk, &clock, &things, "held").await;

    *things.broken.lock().unwrap() = std::mem::take(&mut things.held.lock().unwrap());
    let error = prune_with(&vault, &[], &things).await.expect_err("not allowed");
    assert_eq!(error.kind().exit_code(), 4, "{error}");
    check(&disk, &clock, &things, "broken").await;

    things.broken.lock().unwrap().clear();
    let (_, pruned) = prune_with(&vault, &[], &things).await.unwrap();
    assert_eq!((pruned.swept, pruned.held.len()), (vec![backups[0].clone()], 0));
    assert!(disk.keys("tombstones/").is_empty());
}
