//! Two processes and one lease.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use pgkeep::base::Kind;
use pgkeep::base::clock::{Clock, ManualClock, SharedClock, add};
use pgkeep::base::ids::BackupId;
use pgkeep::base::limits::{LEASE_TTL, SWEEP_MARGIN};
use pgkeep::repo::gc;
use pgkeep::repo::lease::{self as leases, Lease, LeaseRequest, Purpose};
use pgkeep::repo::listing::Listing;
use pgkeep::repo::vault::Vault;

use super::support::*;

/// A clock that runs ahead of the common one.
#[derive(Debug)]
struct Ahead(Arc<ManualClock>, Duration);

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        add(self.0.now(), self.1)
    }
    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

/// While the other watches, the holder renews.
#[derive(Debug)]
struct RenewWhileWatched(Ahead, Arc<Lease>);
#[async_trait]
impl Clock for RenewWhileWatched {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
    async fn sleep(&self, duration: Duration) {
        self.1.renew().await.unwrap();
        self.0.sleep(duration).await;
    }
}

/// At one place, lets the lease expire and another take it.
#[derive(Debug)]
struct TakenOver(Arc<ManualClock>, Vault, tokio::runtime::Handle);
impl pgkeep::repo::failpoints::Failpoints for TakenOver {
    fn reach(&self, name: &'static str) -> pgkeep::base::Result<()> {
        if name == "commit:head-read" {
            self.0.advance(Duration::from_secs(600));
            let other = self.1.clone();
            let taken = std::thread::scope(|s| {
                let taken =
                    s.spawn(|| self.2.block_on(async move { lease(&other, Purpose::Write).await.map(|l| l.generation()) }));
                taken.join().unwrap()
            });
            assert_eq!(taken.unwrap(), 2);
        }
        Ok(())
    }
}

async fn two_vaults() -> (Arc<Disk>, Arc<ManualClock>, Vault, Vault) {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let a = vault(&Process::new(&disk), &clock).await.unwrap();
    let b = vault(&Process::new(&disk), &clock).await.unwrap();
    (disk, clock, a, b)
}

#[tokio::test]
async fn a_held_lease_names_its_holder_and_a_released_one_is_free_at_once() {
    let (_, clock, a, b) = two_vaults().await;
    let first = lease(&a, Purpose::Write).await.unwrap();
    let before = clock.now();
    let e = lease(&b, Purpose::Write).await.unwrap_err();
    assert_eq!((e.kind(), clock.now()), (Kind::Conflict, before));
    for words in ["`test` (process 1 on test)", "since 2026-11-22T02:15:00Z", "until 2026-11-22T02:16:00Z"] {
        assert!(e.message().contains(words), "{e}");
    }
    first.release().await.unwrap();
    assert_eq!(first.check().unwrap_err().kind(), Kind::Conflict);
    let second = lease(&b, Purpose::Write).await.unwrap();
    assert_eq!((second.generation(), clock.now()), (2, before));
    let patient = LeaseRequest { patience: Duration::from_secs(300), ..LeaseRequest::new(owner("gate"), Purpose::Write) };
    assert_eq!(Lease::acquire(&a, &patient).await.unwrap().generation(), 3, "the second was never renewed");
    assert_eq!(second.renew().await.unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test]
async fn an_expired_lease_is_watched_before_it_is_taken_and_a_sweeping_one_gets_longer() {
    let (_, clock, a, b) = two_vaults().await;
    let stalled = lease(&a, Purpose::Sweep).await.unwrap();
    clock.advance(LEASE_TTL + Duration::from_secs(1));
    assert_eq!(stalled.check().unwrap_err().kind(), Kind::Conflict, "by its own clock it is over");
    assert_eq!(lease(&b, Purpose::Write).await.unwrap_err().kind(), Kind::Conflict, "a delete may be on its way");
    clock.advance(SWEEP_MARGIN);
    let before = clock.now();
    let next = lease(&b, Purpose::Write).await.unwrap();
    assert!(clock.now() > before, "taken without watching");
    assert_eq!(next.generation(), 2);
    assert!(stalled.renew().await.unwrap_err().message().contains("generation 2, ours was 1"));
}

#[tokio::test]
async fn a_clock_that_runs_ahead_cannot_steal_a_live_lease() {
    let (disk, clock, a, _) = two_vaults().await;
    let live = lease(&a, Purpose::Write).await.unwrap();
    let fast: SharedClock = Arc::new(RenewWhileWatched(Ahead(clock.clone(), Duration::from_secs(3600)), live.clone()));
    let b = Vault::open(Process::new(&disk), "db", fast).await.unwrap();
    assert_eq!(lease(&b, Purpose::Write).await.unwrap_err().kind(), Kind::Conflict);
    live.confirm().await.unwrap();
    // A holder whose clock ran an hour ahead and that died does not block the vault for an hour.
    live.release().await.unwrap();
    let fast = Vault::open(Process::new(&disk), "db", Arc::new(Ahead(clock.clone(), Duration::from_secs(3600)))).await.unwrap();
    let dead = lease(&fast, Purpose::Write).await.unwrap();
    drop(dead);
    let before = clock.now();
    lease(&a, Purpose::Write).await.unwrap();
    assert!(clock.now() < add(before, Duration::from_secs(120)));
}

#[tokio::test]
async fn a_renewal_whose_reply_was_lost_is_still_ours() {
    let (disk, clock) = (Arc::new(Disk::default()), clock());
    let process = Process::new(&disk);
    let a = vault(&process, &clock).await.unwrap();
    let held = lease(&a, Purpose::Write).await.unwrap();
    // The write took place, the reply did not come.
    let key = a.layout().lease();
    disk.change(&key, |bytes| bytes.push(b' '));
    held.renew().await.unwrap();
    held.confirm().await.unwrap();
    assert_eq!(held.generation(), 1);
}

#[tokio::test]
async fn a_stalled_writer_loses_and_what_it_announced_stays_until_grace_is_over() {
    let (disk, clock, a, b) = two_vaults().await;
    let rows = data(4, 50);
    let held = lease(&a, Purpose::Write).await.unwrap();
    let writer = write(&a, &held, &rows).await.unwrap();
    clock.advance(Duration::from_secs(600));
    backup(&b, &data(1, 5)).await.unwrap();
    assert_eq!(writer.commit(commit(clock.as_ref(), &rows)).await.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(check_invariants(&disk, &clock).await.backups.len(), 1);

    // Another writer dies right after it announced its head, whose request is still on its way.
    let late = a.clone().with_failpoints(Arc::new(DieAt("commit:announced")));
    let died = backup(&late, &data(5, 60)).await.unwrap_err();
    assert!(died.message().contains("commit:announced"));
    clock.advance(Duration::from_secs(600));
    prune(&b, &[]).await.unwrap();
    clock.advance(GRACE.saturating_sub(Duration::from_secs(60)));
    let pending = leases::pending(&b).await.unwrap();
    assert_eq!(pending.len(), 1);
    let plan = gc::plan(&b, &[], GRACE).await.unwrap();
    assert!(plan.leftovers.iter().all(|l| *l != pending[0]), "{plan:?}");
    assert!(disk.objects.lock().unwrap().contains_key(&b.layout().contents(&pending[0])));
    clock.advance(Duration::from_secs(120));
    assert_eq!(gc::plan(&b, &[], GRACE).await.unwrap().leftovers, pending);
    assert_eq!(Listing::read(&b).await.unwrap().backups.len(), 1);
}

#[tokio::test]
async fn a_writer_that_finds_its_lease_taken_after_the_head_withdraws_it() {
    let (disk, clock, a, b) = two_vaults().await;
    let slow = a.with_failpoints(Arc::new(TakenOver(clock.clone(), b, tokio::runtime::Handle::current())));
    let e = backup(&slow, &data(2, 20)).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Conflict);
    assert!(disk.keys("backups/").is_empty(), "{:?}", disk.keys("backups/"));
}

#[tokio::test]
async fn random_holders_never_both_hold() {
    let start = seed("random_holders_never_both_hold");
    let mut acquisitions = 0;
    for round in 0..20 {
        let mut random = Seeded(start + round);
        let (_, clock, a, b) = two_vaults().await;
        let vaults = [a, b];
        let mut held: [Option<Arc<Lease>>; 2] = [None, None];
        let (mut newest, mut owner) = (0, None);
        for step in 0..150 {
            let who = random.below(2);
            let at = format!("seed {} step {step}", start + round);
            match random.below(6) {
                0 | 1 => {
                    let purpose = if random.below(3) == 0 { Purpose::Sweep } else { Purpose::Write };
                    if let Ok(lease) = lease(&vaults[who], purpose).await {
                        assert!(lease.generation() > newest, "{at}: generations grow");
                        newest = lease.generation();
                        owner = Some(who);
                        held[who] = Some(lease);
                    }
                }
                2 | 3 => {
                    if let Some(lease) = &held[who] {
                        let newest_holder = owner == Some(who) && lease.generation() == newest;
                        assert_eq!(lease.renew().await.is_ok(), newest_holder, "{at}: only the newest holder renews");
                    }
                }
                4 => {
                    if let Some(lease) = held[who].take() {
                        lease.release().await.unwrap();
                        if owner == Some(who) {
                            owner = None;
                        }
                    }
                }
                _ => clock.advance(Duration::from_secs(random.below(90) as u64)),
            }
            let valid = held.iter().flatten().filter(|l| l.check().is_ok()).count();
            assert!(valid <= 1, "{at}: two leases are valid at once");
        }
        acquisitions += newest;
    }
    // One round may see few, when a prune's lease outlasts most of its steps.
    assert!(acquisitions > 200, "seed {start}: only {acquisitions} acquisitions in 20 rounds");
}

#[tokio::test]
async fn ids_of_pending_backups_are_backups() {
    let (_, clock, a, _) = two_vaults().await;
    let held = lease(&a, Purpose::Write).await.unwrap();
    let backup = BackupId::generate(clock.now());
    held.announce(&backup).await.unwrap();
    assert_eq!(leases::pending(&a).await.unwrap(), std::slice::from_ref(&backup));
    held.release().await.unwrap();
    let next = lease(&a, Purpose::Write).await.unwrap();
    assert_eq!(next.pending().await, [backup], "an announcement that was never settled outlives its holder");
}
