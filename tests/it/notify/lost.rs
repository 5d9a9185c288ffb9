//! Messages that do not arrive: recorded, sent again by whoever lives, given up in the end, and never in the way of a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pgkeep::base::clock::{Clock, ManualClock, SharedClock};
use pgkeep::base::limits::{NOTIFY_CLAIM, NOTIFY_MAX_AGE, NOTIFY_RETRIES};
use pgkeep::daemon::notify::Outcome;
use pgkeep::repo::notices::{self, DeliveryState, Notice};
use pgkeep::store::SharedStore;
use pgkeep::store::faulty::{Fault, FaultyStore};
use pgkeep::store::memory::MemoryStore;
use proptest::prelude::*;

use super::receivers::{Answer, Http};
use super::{end, notices, notifier, policy, refused, start, vault};

struct Post {
    http: Http,
    clock: Arc<ManualClock>,
    store: SharedStore,
}

impl Post {
    async fn new() -> Self {
        Self { http: Http::new().await, clock: ManualClock::new(start()), store: Arc::new(MemoryStore::new()) }
    }

    fn policy(&self) -> pgkeep::policy::Policy {
        policy(&format!("webhook = \"{}\"", self.http.url("/hook")))
    }

    async fn vault(&self) -> pgkeep::repo::Vault {
        let clock: SharedClock = self.clock.clone();
        vault(&self.store, &clock).await
    }
}

fn state(notice: &Notice) -> DeliveryState {
    notice.deliveries[0].state
}

#[tokio::test]
async fn a_message_is_sent_again_after_growing_pauses_and_given_up_within_a_day() {
    let post = Post::new().await;
    let (policy, vault, notifier) = (post.policy(), post.vault().await, notifier(&post.clock));
    post.http.always(Answer::Status(503, "down for maintenance".to_owned()));
    notifier.run_ended(&policy, Some(&vault), &end(Outcome::Failed(&refused()))).await;
    assert_eq!(post.http.take().len(), 1);
    for (i, pause) in NOTIFY_RETRIES.iter().enumerate() {
        let lost = &notices(&vault).await[0];
        assert_eq!((state(lost), lost.deliveries[0].tries), (DeliveryState::Failed, i as u32 + 1));
        assert!(lost.deliveries[0].error.as_ref().expect("why").contains("503 Service Unavailable: down for maintenance"));
        assert_eq!(notifier.counts()[0].pending, 1);
        // One second too early, and then just in time.
        post.clock.advance(pause.saturating_sub(Duration::from_secs(1)));
        notifier.retry_due(&policy, Some(&vault)).await;
        assert!(post.http.take().is_empty(), "too early after {i} retries");
        post.clock.advance(Duration::from_secs(1));
        notifier.retry_due(&policy, Some(&vault)).await;
        assert_eq!(post.http.take().len(), 1, "due after {i} retries");
    }
    assert_eq!(state(&notices(&vault).await[0]), DeliveryState::GivenUp);
    post.clock.advance(Duration::from_secs(48 * 3600));
    notifier.retry_due(&policy, Some(&vault)).await;
    assert!(post.http.take().is_empty());
    let counts = &notifier.counts()[0];
    assert_eq!((counts.sent, counts.failed, counts.given_up, counts.pending), (0, 8, 1, 0));
    let broken = notices::broken(&notices(&vault).await, &["webhook", "email"], post.clock.now());
    assert_eq!((broken.len(), broken[0].channel.as_str(), broken[0].messages), (1, "webhook", 1));
}

#[tokio::test]
async fn another_process_sends_what_one_that_died_had_begun_and_only_one_does() {
    let post = Post::new().await;
    let (policy, vault) = (post.policy(), post.vault().await);
    post.http.next(Answer::Hang);
    let dying = notifier(&post.clock);
    let error = refused();
    let last = end(Outcome::Failed(&error));
    tokio::select! {
        () = dying.run_ended(&policy, Some(&vault), &last) => panic!("the receiver hangs"),
        () = async { while post.http.requests().is_empty() { tokio::task::yield_now().await } } => {}
    }
    assert_eq!(state(&notices(&vault).await[0]), DeliveryState::Pending);
    let others = [notifier(&post.clock), notifier(&post.clock), notifier(&post.clock)];
    others[0].retry_due(&policy, Some(&vault)).await;
    assert_eq!(post.http.take().len(), 1, "it may still be on its way");
    post.clock.advance(NOTIFY_CLAIM + Duration::from_secs(600));
    let retry = |i: usize| others[i].retry_due(&policy, Some(&vault));
    futures::join!(retry(0), retry(1), retry(2));
    assert_eq!(post.http.take().len(), 1);
    let sent = notices(&vault).await;
    assert_eq!((sent.len(), state(&sent[0]), sent[0].deliveries[0].tries), (1, DeliveryState::Sent, 2));
}

#[tokio::test]
async fn what_was_overtaken_by_later_news_is_not_sent_any_more() {
    let post = Post::new().await;
    let (policy, vault, notifier) = (post.policy(), post.vault().await, notifier(&post.clock));
    post.http.next(Answer::Status(500, String::new()));
    notifier.run_ended(&policy, Some(&vault), &end(Outcome::Failed(&refused()))).await;
    notifier.run_ended(&policy, Some(&vault), &end(Outcome::Good)).await;
    post.clock.advance(Duration::from_secs(3600));
    notifier.retry_due(&policy, Some(&vault)).await;
    let heard = post.http.take();
    let events: Vec<_> = heard.iter().map(|r| r.json()["notification"]["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events, ["failure", "recovery"]);
    assert!(notices::broken(&notices::newest(&vault).await.unwrap(), &["webhook"], post.clock.now()).is_empty());
}

#[tokio::test]
async fn without_a_vault_messages_are_sent_and_known_to_the_process() {
    let post = Post::new().await;
    let (policy, notifier) = (post.policy(), notifier(&post.clock));
    post.http.next(Answer::Status(500, String::new()));
    notifier.run_ended(&policy, None, &end(Outcome::Failed(&refused()))).await;
    notifier.run_ended(&policy, None, &end(Outcome::Failed(&refused()))).await;
    assert_eq!(post.http.take().len(), 1, "told once");
    post.clock.advance(NOTIFY_RETRIES[0]);
    notifier.retry_due(&policy, None).await;
    assert_eq!(post.http.take().len(), 1, "and again, since it did not arrive");
    // The vault is there again and knows of nothing; the process does.
    let vault = post.vault().await;
    notifier.run_ended(&policy, Some(&vault), &end(Outcome::Failed(&refused()))).await;
    assert!(post.http.take().is_empty());
    notifier.run_ended(&policy, Some(&vault), &end(Outcome::Good)).await;
    let heard = post.http.take();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].json()["notification"]["event"], "recovery");
}

#[tokio::test]
async fn each_request_to_the_store_may_fail_and_the_message_is_sent_all_the_same() {
    // A failing run on a store that fails at one request in turn, with and without effect.
    let mut requests = 1;
    while requests <= 12 {
        for fault in [Fault::FailBefore, Fault::LoseAnswer] {
            let post = Post::new().await;
            let (policy, good) = (post.policy(), post.vault().await);
            let faulty: SharedStore = Arc::new(FaultyStore::new(post.store.clone()).at(requests, fault));
            let clock: SharedClock = post.clock.clone();
            let Ok(vault) = pgkeep::repo::Vault::open(faulty, "harena", clock).await else { continue };
            let notifier = notifier(&post.clock);
            notifier.run_ended(&policy, Some(&vault), &end(Outcome::Failed(&refused()))).await;
            post.clock.advance(Duration::from_secs(700));
            notifier.retry_due(&policy, Some(&vault)).await;
            let heard = post.http.take().len();
            assert!((1..=2).contains(&heard), "told {heard} times with a fault at request {requests}");
            // Nothing is left that a later process would take for unsent for ever.
            post.clock.advance(Duration::from_secs(700));
            super::notifier(&post.clock).retry_due(&policy, Some(&good)).await;
            assert!(notices(&good).await.iter().all(|n| state(n) == DeliveryState::Sent), "fault at request {requests}");
        }
        requests += 1;
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// From now on the receiver works, or not.
    Receiver(bool),
    /// The n-th daemon's run ends, well or not.
    Run(usize, bool),
    /// The n-th daemon's loop goes round.
    Loop(usize),
    /// Both loops at the same time.
    Loops,
    /// This many minutes pass.
    Wait(u16),
    /// The n-th daemon is started anew, and knows nothing.
    Restart(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any::<bool>().prop_map(Step::Receiver),
        2 => (0..2_usize, any::<bool>()).prop_map(|(n, good)| Step::Run(n, good)),
        3 => (0..2_usize).prop_map(Step::Loop),
        2 => Just(Step::Loops),
        4 => prop_oneof![1..3_u16, 5..70_u16, 100..1000_u16].prop_map(Step::Wait),
        1 => (0..2_usize).prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_a_message_is_taken_once_and_tried_eight_times_at_most(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let post = Post::new().await;
            let (policy, vault) = (post.policy(), post.vault().await);
            let mut daemons = [notifier(&post.clock), notifier(&post.clock)];
            for step in &steps {
                match *step {
                    Step::Receiver(true) => post.http.always(Answer::Ok),
                    Step::Receiver(false) => post.http.always(Answer::Status(500, String::new())),
                    Step::Run(daemon, good) => {
                        let error = refused();
                        let outcome = if good { Outcome::Good } else { Outcome::Failed(&error) };
                        daemons[daemon].run_ended(&policy, Some(&vault), &end(outcome)).await;
                    }
                    Step::Loop(daemon) => daemons[daemon].retry_due(&policy, Some(&vault)).await,
                    Step::Loops => {
                        let one = daemons[0].retry_due(&policy, Some(&vault));
                        futures::join!(one, daemons[1].retry_due(&policy, Some(&vault)));
                    }
                    Step::Wait(minutes) => post.clock.advance(Duration::from_secs(60 * u64::from(minutes))),
                    Step::Restart(daemon) => daemons[daemon] = notifier(&post.clock),
                }
            }
            post.clock.advance(NOTIFY_MAX_AGE);
            daemons[0].retry_due(&policy, Some(&vault)).await;
            let mut tries: BTreeMap<String, (u32, u32)> = BTreeMap::new();
            for request in post.http.take() {
                let id = request.json()["notification"]["id"].as_str().expect("id").to_owned();
                let counts = tries.entry(id).or_default();
                counts.0 += 1;
                counts.1 += u32::from(request.taken);
            }
            prop_assert!(tries.values().all(|(all, taken)| *all <= 8 && *taken <= 1), "{tries:?} after {steps:?}");
            for notice in notices::newest(&vault).await.expect("read") {
                let (all, taken) = tries.get(&notice.id).copied().unwrap_or_default();
                prop_assert!(notice.deliveries.iter().all(|d| d.is_settled() && d.tries == all), "{notice:?} after {steps:?}");
                prop_assert_eq!(notice.deliveries.iter().any(|d| d.state == DeliveryState::Sent), taken == 1);
            }
            Ok(())
        })?;
    }
}
