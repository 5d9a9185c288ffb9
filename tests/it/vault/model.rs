//! Random operations of several processes that die and stall, the invariants checked after each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pgkeep::base::clock::{Clock, ManualClock, add};
use pgkeep::base::ids::{BackupId, RunId};
use pgkeep::base::limits::READER_TTL;
use pgkeep::repo::gc;
use pgkeep::repo::lease::{Lease, Purpose};
use pgkeep::repo::listing::Listing;
use pgkeep::repo::readers::Reading;
use pgkeep::repo::vault::Vault;
use pgkeep::repo::writer::Writer;

use super::support::*;

struct Stalled {
    writer: Writer,
    _lease: Arc<Lease>,
    rows: Data,
}

struct Model {
    random: Seeded,
    disk: Arc<Disk>,
    clock: Arc<ManualClock>,
    rows: Data,
    /// What each backup must give back.
    content: BTreeMap<BackupId, Data>,
    /// Rows that a failed or stalled run may have committed.
    attempts: Vec<Data>,
    readers: Vec<(BackupId, Timestamp)>,
    stalled: Option<Stalled>,
    counts: BTreeMap<&'static str, u32>,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            random: Seeded(seed),
            disk: Arc::new(Disk::default()),
            clock: clock(),
            rows: data(3, 40),
            content: BTreeMap::new(),
            attempts: Vec::new(),
            readers: Vec::new(),
            stalled: None,
            counts: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A process that every third time dies at a random request.
    async fn process(&mut self) -> Option<(Arc<Process>, Vault)> {
        let process = match self.random.below(3) {
            0 => Process::dying(&self.disk, self.random.below(70) as u64, self.random.below(2) == 0),
            _ => Process::new(&self.disk),
        };
        let vault = vault(&process, &self.clock).await.ok()?;
        Some((process, vault))
    }

    fn change_rows(&mut self) {
        let name = format!("t{}", self.random.below(4));
        let n = self.random.next() % 50;
        let rows = self.rows.entry(name).or_default();
        match self.random.below(3) {
            0 => rows.truncate(rows.len() / 2),
            1 => rows.insert(rows.len() / 3, format!("inserted {n}\n")),
            _ => rows.extend((0..n).map(|i| format!("{i} of {n}: {}\n", "y".repeat(i as usize)))),
        }
    }

    fn pick(&mut self, from: &[BackupId]) -> Option<BackupId> {
        if from.is_empty() { None } else { Some(from[self.random.below(from.len())].clone()) }
    }

    /// One random operation. Returns the backups that it was asked to remove.
    async fn step(&mut self, listing: &Listing) -> Vec<BackupId> {
        let listed: Vec<BackupId> = listing.backups.iter().map(|h| h.backup.clone()).collect();
        let marked: Vec<BackupId> = listing.marked.iter().map(|t| t.backup.clone()).collect();
        match self.random.below(12) {
            0..=3 => self.backup().await,
            4 | 5 => return self.prune(&listed).await,
            6 => self.undelete(&marked).await,
            7 => self.read(&listed).await,
            8 => self.stall().await,
            9 => self.resume().await,
            _ => {
                let choices = [40, 400, 4000, 40_000, 100_000];
                let seconds = choices[self.random.below(choices.len())];
                self.clock.advance(Duration::from_secs(self.random.below(seconds) as u64));
            }
        }
        Vec::new()
    }

    async fn backup(&mut self) {
        self.change_rows();
        let rows = self.rows.clone();
        let Some((process, vault)) = self.process().await else { return };
        match backup(&vault, &rows).await {
            Ok(head) => {
                self.count("backups");
                self.content.insert(head.backup, rows);
            }
            Err(_) => self.attempts.push(rows),
        }
        process.kill();
    }

    async fn prune(&mut self, listed: &[BackupId]) -> Vec<BackupId> {
        let mut drop: Vec<BackupId> = listed.iter().filter(|_| self.random.below(3) == 0).cloned().collect();
        if drop.len() == listed.len() {
            drop.pop();
        }
        if let Some((process, vault)) = self.process().await {
            if let Ok((_, pruned)) = prune(&vault, &drop).await {
                self.count("prunes");
                for swept in pruned.swept {
                    self.count("swept");
                    self.content.remove(&swept);
                }
            }
            process.kill();
        }
        drop
    }

    async fn undelete(&mut self, marked: &[BackupId]) {
        let Some(backup) = self.pick(marked) else { return };
        let Some((process, vault)) = self.process().await else { return };
        let done = async {
            let held = lease(&vault, Purpose::Write).await?;
            gc::undelete(&vault, &held, &backup).await?;
            held.release().await
        };
        if done.await.is_ok() {
            self.count("undeleted");
        }
        process.kill();
    }

    async fn read(&mut self, listed: &[BackupId]) {
        let Some(backup) = self.pick(listed) else { return };
        let vault = vault(&Process::new(&self.disk), &self.clock).await.unwrap();
        let now = self.clock.now();
        let reading =
            Reading::begin(&vault, &RunId::generate(now), &backup, "restore", owner("restore")).await.expect("it is listed");
        self.readers.push((backup.clone(), add(now, READER_TTL)));
        let listing = Listing::read(&vault).await.unwrap();
        let head = listing.backups.iter().find(|h| h.backup == backup).unwrap();
        assert_eq!(&read(&vault, head).await.unwrap(), &self.content[&backup]);
        if self.random.below(2) == 0 {
            reading.finish().await.unwrap();
            self.readers.pop();
        }
    }

    async fn stall(&mut self) {
        self.change_rows();
        let rows = self.rows.clone();
        let vault = vault(&Process::new(&self.disk), &self.clock).await.unwrap();
        let Ok(held) = lease(&vault, Purpose::Write).await else { return };
        if let Ok(writer) = write(&vault, &held, &rows).await {
            self.attempts.push(rows.clone());
            self.stalled = Some(Stalled { writer, _lease: held, rows });
        }
    }

    async fn resume(&mut self) {
        let Some(stalled) = self.stalled.take() else { return };
        match stalled.writer.commit(commit(self.clock.as_ref(), &stalled.rows)).await {
            Ok(head) => {
                self.count("resumed");
                self.content.insert(head.backup, stalled.rows);
            }
            Err(_) => self.count("fenced"),
        }
    }

    /// Everything that must hold between two steps.
    async fn check(&mut self, before: &Listing, dropped: &[BackupId]) -> Listing {
        let now = self.clock.now();
        let listing = check_invariants(&self.disk, &self.clock).await;
        let vault = vault(&Process::new(&self.disk), &self.clock).await.unwrap();
        for head in &before.backups {
            let still = listing.backups.iter().any(|h| h.backup == head.backup);
            assert!(still || dropped.contains(&head.backup), "backup {} is not listed any more", head.backup);
        }
        for (backup, until) in &self.readers {
            let whole = listing.backups.iter().chain(listing.marked.iter().map(|t| &t.head)).any(|h| h.backup == *backup);
            assert!(whole || *until <= now, "backup {backup} was deleted while it was read");
        }
        for head in listing.backups.iter().chain(listing.marked.iter().map(|t| &t.head)) {
            let rows = read(&vault, head).await.unwrap();
            if let Some(expected) = self.content.get(&head.backup) {
                assert_eq!(&rows, expected, "backup {}", head.backup);
            } else {
                // A run that died after its head was written.
                assert!(self.attempts.contains(&rows), "backup {} holds rows that nobody wrote", head.backup);
                self.content.insert(head.backup.clone(), rows);
            }
        }
        listing
    }

    /// Left alone for long enough, the vault holds exactly what its backups need.
    async fn settle(&mut self) {
        self.stalled = None;
        let vault = vault(&Process::new(&self.disk), &self.clock).await.unwrap();
        for _ in 0..4 {
            self.clock.advance(GRACE + Duration::from_secs(3600));
            prune(&vault, &[]).await.expect("prune");
        }
        let listing = check_invariants(&self.disk, &self.clock).await;
        let plan = gc::plan(&vault, &[], GRACE).await.unwrap();
        assert!(plan.is_empty() && plan.waiting.is_empty(), "{plan:?}");
        assert_eq!(self.disk.keys("backups/").len(), 2 * listing.backups.len());
    }
}

#[tokio::test]
async fn nothing_needed_is_ever_lost() {
    let start = seed("nothing_needed_is_ever_lost");
    let mut counts: BTreeMap<&'static str, u32> = BTreeMap::new();
    for seed in start..start + 6 {
        let mut model = Model::new(seed);
        vault(&Process::new(&model.disk), &model.clock).await.unwrap();
        let mut listing = Listing::default();
        for step in 0..120 {
            println!("seed {seed} step {step}");
            let dropped = model.step(&listing).await;
            listing = model.check(&listing, &dropped).await;
        }
        model.settle().await;
        for (what, n) in model.counts {
            *counts.entry(what).or_default() += n;
        }
    }
    println!("{counts:?}");
    for what in ["backups", "prunes", "swept", "undeleted", "resumed", "fenced"] {
        assert!(counts.get(what).is_some_and(|n| *n > 0), "no {what} in any run: {counts:?}");
    }
}
