//! A year of two daemons on one vault, with clocks that jump, processes that die, sleep and wake, and runs that fail: the real scheduler's tasks, the
//! real decision, lease and records, on a store in memory; only what a run does between them is made up. Time passes when everybody waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::desk::{Desk, Gate, Message};
use super::keeper::Keeper;
use super::notify::Notifier;
use super::runner::{Body, Ended, Job, Stop};
use super::state::State;
use crate::base::clock::{self, Clock, SharedClock};
use crate::base::ids::RunId;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::jobs::run::{self as job_run, Recorder, under_lease};
use crate::jobs::{Context, due};
use crate::policy::{self, Policy};
use crate::repo::Vault;
use crate::repo::lease::Purpose;
use crate::repo::runs::{self, Run, RunKind, RunState};
use crate::store::memory::MemoryStore;
use crate::store::{self, ETag, Key, ObjectMeta, PutMode, Store, StoreResult};

/// Polls that every task may need before it waits for time alone.
const SETTLE: u32 = 12;

/// The time of the simulated world: one that only grows, by which sleepers wake, and what clocks on the wall show of it.
#[derive(Debug)]
struct World(Mutex<Now>);

#[derive(Debug)]
struct Now {
    start: Timestamp,
    passed: Duration,
    skew: SignedDuration,
    sleepers: BinaryHeap<Reverse<(Duration, u64)>>,
    wakers: BTreeMap<u64, oneshot::Sender<()>>,
    count: u64,
}

impl World {
    fn new(start: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Now {
            start: start.parse().expect("time"),
            passed: Duration::ZERO,
            skew: SignedDuration::ZERO,
            sleepers: BinaryHeap::new(),
            wakers: BTreeMap::new(),
            count: 0,
        })))
    }

    fn wall(&self) -> Timestamp {
        let now = self.0.lock().expect("world");
        clock::add(now.start, now.passed).checked_add(now.skew).expect("in range")
    }

    fn passed(&self) -> Duration {
        self.0.lock().expect("world").passed
    }

    fn jump(&self, by: SignedDuration) {
        self.0.lock().expect("world").skew += by;
    }

    fn sleeper(&self, duration: Duration) -> oneshot::Receiver<()> {
        let mut now = self.0.lock().expect("world");
        let (sender, receiver) = oneshot::channel();
        now.count += 1;
        let (at, id) = (now.passed + duration, now.count);
        now.sleepers.push(Reverse((at, id)));
        now.wakers.insert(id, sender);
        receiver
    }

    /// Lets everybody do what they can, then time pass until the next one wakes.
    async fn turn(&self) {
        for _ in 0..SETTLE {
            let mut asked = false;
            // Not tokio's way to yield, which asks the kernel for news each time.
            std::future::poll_fn(|cx| {
                if std::mem::replace(&mut asked, true) {
                    return std::task::Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
        }
        let mut now = self.0.lock().expect("world");
        while let Some(Reverse((at, id))) = now.sleepers.pop() {
            let Some(waker) = now.wakers.remove(&id) else { continue };
            if waker.is_closed() {
                continue;
            }
            now.passed = now.passed.max(at);
            let _ = waker.send(());
            return;
        }
        // Nobody is there, or all sleep.
        now.passed += Duration::from_secs(60);
    }
}

/// One process: everything that it does stops while it is stopped.
#[derive(Debug, Clone)]
struct Life {
    world: Arc<World>,
    runs: watch::Sender<bool>,
}

impl Life {
    async fn lives(&self) {
        let mut runs = self.runs.subscribe();
        let _ = runs.wait_for(|runs| *runs).await;
    }
}

#[async_trait]
impl Clock for Life {
    fn now(&self) -> Timestamp {
        self.world.wall()
    }

    async fn sleep(&self, duration: Duration) {
        let _ = self.world.sleeper(duration).await;
        self.lives().await;
    }
}

/// The store as one process reaches it.
#[derive(Debug)]
struct Reached(Arc<MemoryStore>, Life);

#[async_trait]
impl Store for Reached {
    async fn get_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        self.1.lives().await;
        self.0.get_versioned(key).await
    }
    async fn put_body(&self, key: &Key, body: store::Body, mode: PutMode) -> StoreResult<ETag> {
        self.1.lives().await;
        self.0.put_body(key, body, mode).await
    }
    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        self.1.lives().await;
        self.0.head(key, checksum).await
    }
    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        let prefix = prefix.to_owned();
        let listed = async move {
            self.1.lives().await;
            self.0.list(&prefix).collect::<Vec<_>>().await
        };
        futures::stream::once(listed).flat_map(futures::stream::iter).boxed()
    }
    async fn list_folders(&self, prefix: &str) -> StoreResult<Vec<String>> {
        self.1.lives().await;
        self.0.list_folders(prefix).await
    }
    async fn delete(&self, key: &Key) -> StoreResult<()> {
        self.1.lives().await;
        self.0.delete(key).await
    }
    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

/// Runs that take a while and sometimes fail, under the real lease and with real records.
#[derive(Debug)]
struct MadeUp {
    cx: Context,
    vault: Vault,
    random: Arc<Mutex<StdRng>>,
}

impl MadeUp {
    async fn back_up(&self, job: &Job, stop: &Stop) -> Result<()> {
        let cx = Context { shutdown: stop.shutdown.clone(), ..self.cx.clone() };
        let (cx, vault, policy) = (&cx, &self.vault, &*job.policy);
        let slot = job.order.slot.expect("scheduled");
        let (lasts, fate) = {
            let mut random = self.random.lock().expect("random");
            (Duration::from_secs(random.random_range(1..900)), random.random_range(0..100))
        };
        under_lease(cx, vault, "backup", Purpose::Write, |lease, shutdown| async move {
            let id = job.order.id(cx);
            let claim = due::claim(cx, vault, &lease, policy, RunKind::Backup, slot, &id).await?;
            let recorder = Recorder::start(cx, vault, job_run::record(cx, &job.order, id, RunKind::Backup, Some(claim))).await?;
            let work = async {
                shutdown
                    .guard(async {
                        cx.clock.sleep(lasts).await;
                        Ok(())
                    })
                    .await?;
                match fate {
                    0..=9 => Err(Error::unavailable("made up")),
                    10..=11 => Err(Error::denied("made up")),
                    // As a commit does it: whoever lost the lease fails here.
                    _ => lease.renew().await,
                }
            };
            let outcome = work.await;
            recorder.end(outcome, |()| None).await
        })
        .await
    }
}

#[async_trait]
impl Body for MadeUp {
    async fn run(&self, job: Job, stop: Stop) -> Ended {
        let outcome = self.back_up(&job, &stop).await;
        let recorded = outcome.as_ref().err().is_none_or(|e| e.message().contains("made up"));
        Ended { outcome, recorded }
    }
}

/// One daemon with one policy.
struct Daemon {
    life: Life,
    shutdown: Shutdown,
    task: JoinHandle<()>,
    _inbox: mpsc::Sender<Message>,
}

impl Daemon {
    async fn start(world: &Arc<World>, disk: &Arc<MemoryStore>, policy: &Arc<Policy>, random: &Arc<Mutex<StdRng>>) -> Self {
        let life = Life { world: world.clone(), runs: watch::Sender::new(true) };
        let clock: SharedClock = Arc::new(life.clone());
        let shutdown = Shutdown::new();
        let cx = Context::of_test(clock.clone(), shutdown.clone());
        let store = Arc::new(Reached(disk.clone(), life.clone()));
        let vault = Vault::open_or_create(store, policy.name.as_str(), "", clock.clone()).await.expect("vault");
        let state = State::new("host", clock.now(), 2);
        let notifier = Notifier::new(clock.clone(), cx.env.clone());
        let (inbox, receiver) = mpsc::channel(1);
        let own = Desk {
            keeper: Keeper::new(policy.clone(), &cx, &state, notifier).opened(vault.clone()),
            clock,
            body: Arc::new(MadeUp { cx, vault, random: random.clone() }),
            gate: Gate::new(2, state),
            inbox: receiver,
            bell: Arc::default(),
            timer: None,
            shutdown: shutdown.clone(),
        };
        Self { life, shutdown, task: tokio::spawn(own.serve()), _inbox: inbox }
    }

    fn is_awake(&self) -> bool {
        *self.life.runs.borrow()
    }
}

/// What kept the daemons from a slot: between these two times on the wall nobody could run, or the clock jumped over them.
type Excuse = (Timestamp, Timestamp);

struct Year {
    world: Arc<World>,
    disk: Arc<MemoryStore>,
    policy: Arc<Policy>,
    random: Arc<Mutex<StdRng>>,
    daemons: Vec<Option<Daemon>>,
    asleep_since: Option<Timestamp>,
    excuses: Vec<Excuse>,
    seen_until: Timestamp,
    killed: u32,
}

impl Year {
    fn chance(&self, per_mille: u32) -> bool {
        self.random.lock().expect("random").random_range(0..1000) < per_mille
    }

    fn one(&self) -> usize {
        self.random.lock().expect("random").random_range(0..2)
    }

    async fn start(&mut self, i: usize) {
        self.daemons[i] = Some(Daemon::start(&self.world, &self.disk, &self.policy, &self.random).await);
    }

    /// About once in ten minutes: something may go wrong.
    async fn trouble(&mut self) {
        let i = self.one();
        if self.chance(12) {
            // kill -9: what the process does stops for ever.
            if let Some(dead) = self.daemons[i].take() {
                dead.life.runs.send_replace(false);
                self.killed += 1;
            }
        }
        if self.chance(4)
            && let Some(daemon) = self.daemons[i].take_if(|d| d.is_awake())
        {
            daemon.shutdown.cancel();
            while !daemon.task.is_finished() {
                self.world.turn().await;
            }
        }
        if self.chance(6)
            && let Some(daemon) = &self.daemons[i]
        {
            daemon.life.runs.send_replace(!daemon.is_awake());
        }
        for i in 0..self.daemons.len() {
            if self.daemons[i].is_none() && self.chance(250) {
                self.start(i).await;
            } else if let Some(daemon) = &self.daemons[i]
                && !daemon.is_awake()
                && self.chance(100)
            {
                daemon.life.runs.send_replace(true);
            }
        }
        self.note_outage();
    }

    /// Remembers from when to when no daemon was awake.
    fn note_outage(&mut self) {
        let now = self.world.wall();
        let nobody = !self.daemons.iter().flatten().any(Daemon::is_awake);
        match (nobody, self.asleep_since) {
            (true, None) => self.asleep_since = Some(now),
            (false, Some(since)) => {
                self.excuses.push((since.min(now), since.max(now)));
                self.asleep_since = None;
            }
            _ => {}
        }
    }

    fn jump(&mut self, hours: i64) {
        let before = self.world.wall();
        self.world.jump(SignedDuration::from_hours(hours));
        let after = self.world.wall();
        if after > before {
            self.excuses.push((before, after));
        }
    }

    async fn pass(&mut self, year: Duration, jumps: &mut Vec<(Duration, i64)>) {
        let mut trouble_at = Duration::ZERO;
        while self.world.passed() < year {
            self.world.turn().await;
            self.seen_until = self.seen_until.max(self.world.wall());
            let passed = self.world.passed();
            if let Some((_, hours)) = jumps.pop_if(|(at, _)| *at <= passed) {
                self.jump(hours);
            }
            if passed >= trouble_at {
                trouble_at = passed + Duration::from_secs(600);
                self.trouble().await;
            }
        }
        // The last slots are let come to their end.
        for i in 0..2 {
            if let Some(daemon) = self.daemons[i].take() {
                daemon.life.runs.send_replace(false);
            }
            self.start(i).await;
        }
        self.note_outage();
        let end = self.world.passed() + Duration::from_secs(4 * 3600);
        while self.world.passed() < end {
            self.world.turn().await;
        }
    }
}

/// Each slot of the year: run for exactly once; or missed, and then there is a reason and a later run that covers it.
fn check(year: &Year, runs: &[Run], what: &str) -> (usize, usize) {
    let schedule = year.policy.schedule.as_ref().expect("schedule");
    let first = runs.iter().map(|r| r.started_at).min().expect("runs");
    let slots = schedule.slots_between(clock::sub(first, Duration::from_secs(86_400)), year.seen_until);
    let mut missed = 0;
    let mut covered = 0;
    for slot in slots {
        let own: Vec<&Run> = runs.iter().filter(|r| r.slot == Some(slot)).collect();
        let good = own.iter().filter(|r| r.state == RunState::Succeeded).count();
        assert!(good <= 1, "{what}: slot {slot} was run {good} times: {own:#?}");
        if good == 1 {
            covered += 1;
            continue;
        }
        missed += 1;
        let next = schedule.next_after(slot).expect("next");
        let failed = own.iter().any(|r| r.state != RunState::Succeeded);
        // Who was awake for half an hour before the next slot came, and might start runs, has at least tried.
        let margin = Duration::from_secs(30 * 60);
        let tried_by = |to: Timestamp| schedule.outside_blackout(clock::add(schedule.outside_blackout(to), margin));
        let excused = year.excuses.iter().any(|(from, to)| *from <= next && *to > slot && tried_by(*to) >= next);
        assert!(failed || excused || slot < first, "{what}: slot {slot} was forgotten");
    }
    (covered, missed)
}

/// A policy for which nothing is ever connected to.
pub(super) fn policy(name: &str, more: &str) -> Arc<Policy> {
    let folder = tempfile::tempdir().expect("folder");
    let text = "[source]\nkind = \"postgres\"\nurl = \"postgres://x/y\"\n[store]\nurl = \"file:///nowhere\"\n";
    std::fs::write(folder.path().join(format!("{name}.toml")), format!("{text}{more}")).expect("write");
    Arc::new(policy::load(folder.path(), name).expect("policy").policy)
}

async fn simulate(name: &'static str, cron: &'static str, zone: &'static str, more: &'static str, seed: u64) {
    say(&format!("{zone}: PGKEEP_SEED={seed}"));
    let policy = policy(name, &format!("[schedule]\ncron = \"{cron}\"\ntimezone = \"{zone}\"\n{more}\n"));
    let world = World::new("2028-01-01T00:00:00Z");
    let mut year = Year {
        seen_until: world.wall(),
        world,
        disk: Arc::new(MemoryStore::new()),
        policy,
        random: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
        daemons: vec![None, None],
        asleep_since: None,
        excuses: Vec::new(),
        killed: 0,
    };
    for i in 0..2 {
        year.start(i).await;
    }
    let day = |n: u64| Duration::from_secs(n * 86_400 + seed % 86_400);
    // Latest first. One jump ahead is put right after a day, the others stay.
    let mut jumps =
        vec![(day(330), -1), (day(271), -72), (day(270), 72), (day(200), -1), (day(150), 72), (day(90), -1), (day(40), 72)];
    year.pass(day(358), &mut jumps).await;
    assert_eq!(jumps, [], "every jump took place");
    let life = Life { world: year.world.clone(), runs: watch::Sender::new(true) };
    let vault = Vault::open(year.disk.clone(), name, Arc::new(life)).await.expect("vault");
    let runs = runs::newest(&vault, usize::MAX).await.expect("runs");
    let (covered, missed) = check(&year, &runs, &format!("{zone}, seed {seed}"));
    let failed = runs.iter().filter(|r| r.state != RunState::Succeeded).count();
    let killed = year.killed;
    say(&format!("{zone}: {covered} slots covered, {missed} missed for a reason, {failed} runs failed, {killed} kills"));
    assert!(covered > 20 * missed / 3 && failed > 20 && year.killed > 20, "the simulation is not what it is meant to be");
    let ids: std::collections::BTreeSet<&RunId> = runs.iter().map(|r| &r.run).collect();
    assert_eq!(ids.len(), runs.len());
}

#[allow(clippy::disallowed_macros, reason = "what a test that fails has to say")]
fn say(text: &str) {
    println!("{text}");
}

fn seed() -> u64 {
    let given = std::env::var("PGKEEP_SEED").ok().and_then(|s| s.parse().ok());
    given.unwrap_or_else(|| u64::from_str_radix(&crate::base::ids::random_hex(4), 16).expect("hex"))
}

#[tokio::test]
async fn a_year_in_paris() {
    tokio::spawn(simulate("paris", "30 2 * * *", "Europe/Paris", "", seed())).await.expect("simulated");
}

#[tokio::test]
async fn a_year_in_new_york() {
    tokio::spawn(simulate("new-york", "30 1,2,13 * * *", "America/New_York", "jitter = \"5m\"", seed()))
        .await
        .expect("simulated");
}

#[tokio::test]
async fn a_year_on_lord_howe() {
    let blackout = "[[schedule.blackout]]\nfrom = \"08:00\"\nto = \"10:00\"";
    tokio::spawn(simulate("lord-howe", "15 2,9,18 * * *", "Australia/Lord_Howe", blackout, seed())).await.expect("simulated");
}
