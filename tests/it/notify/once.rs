//! Everything is said, and nothing twice: two daemons on one vault, a clock that the test moves, and a model that knows the rules.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pgkeep::base::Error;
use pgkeep::base::clock::{Clock, ManualClock, SharedClock, elapsed};
use pgkeep::base::limits::{NOTICES_KEPT, NOTIFY_CAUSES};
use pgkeep::daemon::notify::{Event, Notifier, Outcome, RunEnd};
use pgkeep::policy::Policy;
use pgkeep::repo::Vault;
use pgkeep::repo::runs::RunKind;
use pgkeep::store::SharedStore;
use pgkeep::store::memory::MemoryStore;
use proptest::prelude::*;

use super::receivers::Http;
use super::{notices, notifier, policy, start, vault};

const HOUR: Duration = Duration::from_secs(3600);
const WORDS: [&str; 12] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"];

#[derive(Debug, Clone, Copy)]
enum Step {
    /// This many minutes pass.
    Wait(u16),
    /// The n-th daemon's run ends: well, or with the cause of this number.
    Run(usize, Option<usize>),
    /// The same of a verification.
    Verify(usize, Option<usize>),
    /// The n-th daemon looks at the age of the newest backup: whether it is too old.
    Age(usize, bool),
    /// Both at the same time: the same failure of a run.
    Both(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let cause = prop_oneof![2 => Just(None), 3 => (0..3_usize).prop_map(Some), 1 => (0..WORDS.len()).prop_map(Some)];
    prop_oneof![
        4 => prop_oneof![1..10_u16, 30..90_u16, 100..2000_u16].prop_map(Step::Wait),
        5 => (0..2_usize, cause.clone()).prop_map(|(n, c)| Step::Run(n, c)),
        2 => (0..2_usize, cause).prop_map(|(n, c)| Step::Verify(n, c)),
        2 => (0..2_usize, any::<bool>()).prop_map(|(n, s)| Step::Age(n, s)),
        1 => (0..3_usize).prop_map(Step::Both),
    ]
}

/// A problem as the rules of docs/JSON.md see it.
#[derive(Default)]
struct Problem {
    causes: BTreeSet<usize>,
    last: Timestamp,
    repeated: usize,
}

/// What has to be said, worked out from the rules and from nothing that the program keeps.
#[derive(Default)]
struct Model {
    backup: Option<Problem>,
    verification: Option<Problem>,
    stale: bool,
}

impl Model {
    fn fails(problem: &mut Option<Problem>, cause: usize, now: Timestamp) -> bool {
        let Some(open) = problem else {
            *problem = Some(Problem { causes: BTreeSet::from([cause]), last: now, repeated: 0 });
            return true;
        };
        let new = !open.causes.contains(&cause) && open.causes.len() < NOTIFY_CAUSES;
        let pause = [HOUR, 4 * HOUR, 24 * HOUR][open.repeated.min(2)];
        if !new && elapsed(open.last, now) < pause {
            return false;
        }
        open.repeated += usize::from(!new);
        open.causes.extend(new.then_some(cause));
        open.last = now;
        true
    }

    fn expects(&mut self, step: Step, now: Timestamp) -> Vec<&'static str> {
        let said = |yes: bool, event| if yes { vec![event] } else { Vec::new() };
        match step {
            Step::Wait(_) => Vec::new(),
            Step::Run(_, Some(cause)) | Step::Both(cause) => said(Self::fails(&mut self.backup, cause, now), "failure"),
            Step::Run(_, None) => {
                // One message for both: a good backup is a young one.
                let recovered = self.backup.take().is_some() | std::mem::take(&mut self.stale);
                said(recovered, "recovery")
            }
            Step::Verify(_, Some(cause)) => said(Self::fails(&mut self.verification, cause, now), "verification"),
            Step::Verify(_, None) => said(self.verification.take().is_some(), "recovery"),
            Step::Age(_, true) => said(!std::mem::replace(&mut self.stale, true), "stale"),
            Step::Age(_, false) => said(std::mem::take(&mut self.stale), "recovery"),
        }
    }
}

struct World {
    http: Http,
    clock: Arc<ManualClock>,
    policy: Policy,
    vault: Vault,
    daemons: [Arc<Notifier>; 2],
    runs: u32,
}

impl World {
    async fn new() -> Self {
        let http = Http::new().await;
        let clock = ManualClock::new(start());
        let shared: SharedClock = clock.clone();
        let store: SharedStore = Arc::new(MemoryStore::new());
        let policy = policy(&format!("webhook = \"{}\"\n[notify.sns]\ntopic = \"${{UNSET_TOPIC}}\"", http.url("/hook")));
        let vault = vault(&store, &shared).await;
        let daemons = [notifier(&clock), notifier(&clock)];
        Self { http, clock, policy, vault, daemons, runs: 0 }
    }

    async fn ends(&self, daemon: usize, kind: RunKind, cause: Option<usize>) {
        let error = cause.map(|c| Error::unavailable(format!("run {} of {}: {}", self.runs, self.clock.now(), WORDS[c])));
        let outcome = error.as_ref().map_or(Outcome::Good, Outcome::Failed);
        let end = RunEnd { kind, run: None, backup: None, outcome, tail: None };
        self.daemons[daemon].tell(&self.policy, Some(&self.vault), &Event::of_run(&end).expect("an event")).await;
    }

    async fn does(&mut self, step: Step) {
        self.runs += 1;
        match step {
            Step::Wait(minutes) => self.clock.advance(Duration::from_secs(60 * u64::from(minutes))),
            Step::Run(daemon, cause) => self.ends(daemon, RunKind::Backup, cause).await,
            Step::Verify(daemon, cause) => self.ends(daemon, RunKind::Verify, cause).await,
            Step::Age(daemon, stale) => {
                let event = if stale { Event::stale(Some(30 * HOUR), 26 * HOUR) } else { Event::fresh() };
                // A daemon may keep what it knows of the age for ten minutes: it looks every minute.
                self.clock.advance(Duration::from_secs(600));
                self.daemons[daemon].tell(&self.policy, Some(&self.vault), &event).await;
            }
            Step::Both(cause) => {
                let one = self.ends(0, RunKind::Backup, Some(cause));
                let other = self.ends(1, RunKind::Backup, Some(cause));
                futures::join!(one, other);
            }
        }
    }

    fn heard(&self) -> Vec<String> {
        let events = |r: &super::receivers::Request| r.json()["notification"]["event"].as_str().expect("event").to_owned();
        self.http.take().iter().map(events).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn what_is_heard_is_what_the_rules_say(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        runtime.block_on(async {
            let mut world = World::new().await;
            let mut model = Model::default();
            for (i, step) in steps.iter().enumerate() {
                world.does(*step).await;
                let expected = model.expects(*step, world.clock.now());
                prop_assert_eq!(world.heard(), expected, "step {} of {:?}", i, &steps);
            }
            let notices = notices(&world.vault).await;
            let of = |topic: &str| notices.iter().filter(|n| n.topic.as_str() == topic).count();
            prop_assert!(["backup", "verification", "age"].iter().all(|t| of(t) <= NOTICES_KEPT), "{notices:?}");
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_policy_that_fails_every_hour_is_told_less_and_less_but_for_ever() {
    let mut world = World::new().await;
    let mut told = Vec::new();
    for hour in 0..24 * 7 {
        world.does(Step::Run(hour % 2, Some(0))).await;
        if !world.heard().is_empty() {
            told.push(hour);
        }
        world.clock.advance(HOUR);
    }
    assert_eq!(told, [0, 1, 5, 29, 53, 77, 101, 125, 149]);
    world.does(Step::Run(0, None)).await;
    assert_eq!(world.heard(), ["recovery"]);
    world.does(Step::Run(1, None)).await;
    assert!(world.heard().is_empty());
}

#[tokio::test]
async fn a_clock_that_was_years_ahead_does_not_silence_a_policy() {
    let mut world = World::new().await;
    world.clock.set("2036-01-01T00:00:00Z".parse().expect("time"));
    world.does(Step::Run(0, Some(0))).await;
    world.clock.set(start());
    world.does(Step::Run(0, Some(0))).await;
    assert_eq!(world.heard(), ["failure", "failure"]);
    world.does(Step::Run(1, Some(0))).await;
    assert!(world.heard().is_empty());
}

#[tokio::test]
async fn only_what_is_asked_for_is_told_and_a_silent_recovery_ends_the_problem() {
    let mut world = World::new().await;
    world.policy = policy(&format!("on = [\"failure\", \"anomaly\"]\nwebhook = \"{}\"", world.http.url("/hook")));
    world.does(Step::Verify(0, Some(0))).await;
    world.does(Step::Age(0, true)).await;
    assert!(world.heard().is_empty());
    world.does(Step::Run(0, Some(0))).await;
    world.does(Step::Run(1, None)).await;
    world.does(Step::Run(0, Some(0))).await;
    assert_eq!(world.heard(), ["failure", "failure"], "the second failure is a new problem, not a repetition");
}
