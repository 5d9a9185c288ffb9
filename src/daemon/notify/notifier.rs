//! From events to messages: what was told is read from the vault, and what is told is written there before it is sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::channel::Channel;
use super::counts::{ChannelCounts, Counters};
use super::decide::{Standing, decide};
use super::event::{Event, Outcome, RunEnd};
use super::heartbeat::{self, Beat};
use super::message::Message;
use super::scrub::Scrub;
use crate::base::clock::{SharedClock, add, elapsed};
use crate::base::ids::random_hex;
use crate::base::limits::{NOTIFY_CLAIM, NOTIFY_MAX_AGE, NOTIFY_RETRIES, NOTIFY_SCAN, NOTIFY_TEXT_CHARS, NOTIFY_TIMEOUT};
use crate::base::{Error, Kind, Result};
use crate::jobs::Context;
use crate::jobs::context::host_name;
use crate::policy::model::NotifyEvent;
use crate::policy::{Environment, Policy};
use crate::repo::Vault;
use crate::repo::notices::{self, Delivery, DeliveryState, Logs, Notice, Topic};
use crate::repo::runs::RunKind;
use crate::store::ETag;

/// How often an entry of a log is tried that others are making at the same time.
const RACES: usize = 5;
/// Longest wait for the heartbeat before a run begins.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// How long anything may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sending of one message over one channel; channels are served at the same time.
    pub send: Duration,
    /// Reading or writing of the records in the vault.
    pub store: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { send: NOTIFY_TIMEOUT, store: NOTIFY_TIMEOUT }
    }
}

/// Tells people. One for a process; safe to use from many tasks.
#[derive(Debug)]
pub struct Notifier {
    pub(super) clock: SharedClock,
    pub(super) env: Environment,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
    book: Mutex<Book>,
}

/// What this process knows without asking the vault.
#[derive(Debug, Default)]
pub(super) struct Book {
    known: HashMap<(String, Topic), Known>,
    scanned: HashMap<String, Timestamp>,
}

/// The last entry of a topic as this process knows it.
#[derive(Debug, Clone)]
struct Known {
    notice: Option<Notice>,
    /// Whether the vault has it.
    recorded: bool,
    at: Timestamp,
}

/// The last entry of a topic, and where the next one goes.
struct Seen {
    logs: Option<Logs>,
    last: Option<Notice>,
    number: u64,
}

/// What became of a new entry.
enum Entry {
    /// The vault has it.
    Made(ETag),
    /// Somebody else made one of this number.
    Taken,
    /// The vault cannot be written, or there is none.
    Unrecorded,
}

impl Notifier {
    /// Resolves references in `env`.
    pub fn new(clock: SharedClock, env: Environment) -> Arc<Self> {
        Self::with_limits(clock, env, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(clock: SharedClock, env: Environment, limits: Limits) -> Arc<Self> {
        Arc::new(Self { clock, env, limits, counters: Counters::default(), book: Mutex::default() })
    }

    /// The vault of `name`, if it is there and answers in time; what else is wrong goes to the log.
    pub async fn find_vault(&self, cx: &Context, name: &str) -> Option<Vault> {
        match self.in_time(async { Ok(cx.find_vault(name).await?.1) }).await {
            Ok(vault) => vault,
            Err(error) => {
                tracing::warn!(policy = name, %error, "the vault cannot be opened; what is told now is not recorded");
                None
            }
        }
    }

    /// Calls the heartbeat for a run that is about to begin. Returns within five seconds.
    pub async fn run_started(&self, policy: &Policy, kind: RunKind) {
        if kind == RunKind::Backup {
            self.heartbeat(policy, None, Beat::Start).await;
        }
    }

    /// Tells what the end of a run means: event, heartbeat, and whatever is due to be sent again. `vault`: `None` where it cannot be
    /// opened, or does not exist yet.
    pub async fn run_ended(&self, policy: &Policy, vault: Option<&Vault>, end: &RunEnd<'_>) {
        let event = Event::of_run(end);
        let tell = async {
            if let Some(event) = &event {
                self.tell(policy, vault, event).await;
            }
        };
        let beat = async {
            match end.outcome {
                _ if end.kind != RunKind::Backup => {}
                Outcome::Good => self.heartbeat(policy, vault, Beat::Success).await,
                Outcome::Bad(error) | Outcome::Failed(error) if error.kind() != Kind::Cancelled => {
                    let hint = error.hint_text().map(|h| format!("{h}\n")).unwrap_or_default();
                    let tail = format!("{}{}\n{hint}", end.tail.unwrap_or_default(), error.full_message());
                    self.heartbeat(policy, vault, Beat::Failure { tail: &tail }).await;
                }
                Outcome::Bad(_) | Outcome::Failed(_) => {}
            }
        };
        futures::join!(tell, beat);
        self.retry_due(policy, vault).await;
    }

    /// Tells `event` unless it is known already: see [`Event`] and the policy's `[notify]`.
    pub async fn tell(&self, policy: &Policy, vault: Option<&Vault>, event: &Event) {
        let wanted = policy.notify.on.contains(&event.kind);
        // A recovery that nobody wants to hear of ends the problem all the same: the next failure is a new one.
        if policy.notify.channels().is_empty() || !(wanted || event.kind == NotifyEvent::Recovery) {
            return;
        }
        let mut said = !wanted;
        for topic in &event.topics {
            said |= self.enter(policy, vault, *topic, event, said).await;
        }
    }

    /// Makes the next entry of a topic's log if `event` calls for one, and sends it unless `quiet`. Whether there was one to make.
    async fn enter(&self, policy: &Policy, vault: Option<&Vault>, topic: Topic, event: &Event, quiet: bool) -> bool {
        let scrub = Scrub::of(policy, &self.env);
        let cause = scrub.clean(&event.cause);
        let now = self.clock.now();
        let decide = |last: Option<&Notice>| decide(last, event.kind, topic, &cause, now);
        if let Some(known) = self.fresh(policy, topic, now)
            && decide(known.notice.as_ref()).is_none()
        {
            return false;
        }
        for _ in 0..RACES {
            let seen = self.look(policy, vault, topic).await;
            let Some(standing) = decide(seen.last.as_ref()) else {
                self.remember(policy, topic, seen.last, seen.logs.is_some());
                return false;
            };
            let mut notice = self.notice(topic, event.kind.as_str(), &scrub, event, standing);
            notice.number = seen.number;
            if !quiet {
                notice.deliveries = policy.notify.channels().iter().map(|c| self.begun(c, now)).collect();
            }
            match self.make(vault, &seen, &notice).await {
                Entry::Taken => {}
                Entry::Made(etag) => {
                    self.deliver(policy, vault.map(|v| (v, etag)), notice).await;
                    return true;
                }
                Entry::Unrecorded => {
                    self.deliver(policy, None, notice).await;
                    return true;
                }
            }
        }
        tracing::warn!(policy = %policy.name, topic = topic.as_str(), "others write the same notices all the time; nothing was told");
        false
    }

    fn notice(&self, topic: Topic, event: &str, scrub: &Scrub, from: &Event, standing: Standing) -> Notice {
        let text = |text: &str| scrub.clean(text).chars().take(NOTIFY_TEXT_CHARS).collect::<String>();
        Notice {
            id: random_hex(16),
            topic,
            number: 0,
            event: event.to_owned(),
            at: self.clock.now(),
            since: standing.since,
            open: standing.open,
            told: standing.told,
            reminders: standing.reminders,
            causes: standing.causes,
            title: text(&from.title),
            detail: text(&from.detail),
            hint: from.hint.as_deref().map(text),
            host: host_name(),
            run: from.run.clone(),
            backup: from.backup.clone(),
            deliveries: Vec::new(),
        }
    }

    /// A delivery that this process begins now.
    pub(super) fn begun(&self, channel: &str, now: Timestamp) -> Delivery {
        Delivery {
            channel: channel.to_owned(),
            state: DeliveryState::Pending,
            tries: 1,
            last_try_at: now,
            next_try_at: Some(add(now, NOTIFY_CLAIM)),
            error: None,
        }
    }

    /// What was told last: by the vault, or by this process where it could not write that down.
    async fn look(&self, policy: &Policy, vault: Option<&Vault>, topic: Topic) -> Seen {
        let known = self.book().known.get(&(policy.name.to_string(), topic)).cloned();
        let read = match vault {
            None => None,
            Some(vault) => {
                let read = self.in_time(async {
                    let logs = Logs::list(vault).await?;
                    let last = logs.last(vault, topic).await?.map(|(notice, _)| notice);
                    Ok((logs, last))
                });
                let failed = |error: &Error| {
                    tracing::warn!(policy = %policy.name, %error, "the vault does not say what was told before");
                };
                read.await.inspect_err(failed).ok()
            }
        };
        let Some((logs, last)) = read else {
            let last = known.and_then(|k| k.notice);
            return Seen { logs: None, number: last.as_ref().map_or(1, |n| n.number + 1), last };
        };
        let number = logs.last_number(topic) + 1;
        let newer = known.filter(|k| !k.recorded).and_then(|k| k.notice);
        let newer = newer.filter(|n| last.as_ref().is_none_or(|l| n.at > l.at));
        Seen { logs: Some(logs), last: newer.or(last), number }
    }

    async fn make(&self, vault: Option<&Vault>, seen: &Seen, notice: &Notice) -> Entry {
        let (Some(vault), Some(logs)) = (vault, &seen.logs) else { return Entry::Unrecorded };
        match self.in_time(notices::append(vault, logs, notice)).await {
            Ok(Some(etag)) => Entry::Made(etag),
            Ok(None) => Entry::Taken,
            Err(error) => {
                tracing::warn!(policy = vault.policy(), %error, "a notice could not be recorded; it is sent all the same");
                Entry::Unrecorded
            }
        }
    }

    /// Sends what `notice` has pending, and records what became of it. `record`: the vault and the version of the entry in it.
    pub(super) async fn deliver(&self, policy: &Policy, record: Option<(&Vault, ETag)>, mut notice: Notice) {
        // Before anything is awaited: whoever asks meanwhile must know that this is being said.
        self.remember(policy, notice.topic, Some(notice.clone()), record.is_some());
        let message = Message::new(policy, &notice);
        let due: Vec<usize> =
            (0..notice.deliveries.len()).filter(|i| notice.deliveries[*i].state == DeliveryState::Pending).collect();
        let sends = due.iter().map(|i| self.send(policy, &notice.deliveries[*i].channel, &message));
        let outcomes = futures::future::join_all(sends).await;
        let scrub = Scrub::of(policy, &self.env);
        for (i, outcome) in due.into_iter().zip(outcomes) {
            let at = notice.at;
            self.settle(policy, at, &mut notice.deliveries[i], outcome, &scrub);
        }
        let recorded = match record {
            None => false,
            Some(_) if notice.deliveries.is_empty() => true,
            Some((vault, etag)) => match self.in_time(notices::update(vault, &notice, etag)).await {
                // Somebody else took it for abandoned and sends it again.
                Ok(None) => return,
                Ok(Some(_)) => true,
                Err(error) => {
                    tracing::warn!(policy = %policy.name, %error, "what became of a notice could not be recorded");
                    true
                }
            },
        };
        self.remember(policy, notice.topic, Some(notice), recorded);
    }

    async fn send(&self, policy: &Policy, channel: &str, message: &Message) -> Result<()> {
        Channel::of(policy, channel, &self.env)?.send(message, self.limits.send).await
    }

    /// Notes in `delivery` how its try ended.
    fn settle(&self, policy: &Policy, at: Timestamp, delivery: &mut Delivery, outcome: Result<()>, scrub: &Scrub) {
        let (name, channel) = (policy.name.as_str(), delivery.channel.clone());
        let Err(error) = outcome else {
            delivery.state = DeliveryState::Sent;
            (delivery.next_try_at, delivery.error) = (None, None);
            self.counters.add(name, &channel, |t| t.sent += 1);
            return;
        };
        let text = scrub.clean(&error.full_message());
        let text: String = text.chars().take(NOTIFY_TEXT_CHARS).collect();
        delivery.next_try_at = notices::next_try(at, delivery.tries, self.clock.now(), &NOTIFY_RETRIES, NOTIFY_MAX_AGE);
        delivery.state = if delivery.next_try_at.is_some() { DeliveryState::Failed } else { DeliveryState::GivenUp };
        self.counters.add(name, &channel, |t| t.failed += 1);
        if delivery.next_try_at.is_none() {
            self.counters.add(name, &channel, |t| t.given_up += 1);
        }
        tracing::warn!(policy = name, channel, error = text, again_at = ?delivery.next_try_at, "a notification did not arrive");
        delivery.error = Some(text);
    }

    /// Calls the policy's heartbeat address, if it has one. A call that does not arrive is recorded and made again; that of a start is not.
    pub async fn heartbeat(&self, policy: &Policy, vault: Option<&Vault>, beat: Beat<'_>) {
        let Some(settings) = &policy.notify.heartbeat else { return };
        let scrub = Scrub::of(policy, &self.env);
        let body = match beat {
            Beat::Start | Beat::Success => String::new(),
            Beat::Failure { tail } => scrub.clean(tail),
        };
        let timeout = if beat == Beat::Start { START_TIMEOUT.min(self.limits.send) } else { self.limits.send };
        let call = async {
            let url = settings.url(&self.env)?;
            match beat {
                Beat::Start => heartbeat::once(&url, beat.event(), &body, timeout).await,
                _ => heartbeat::call(&url, beat.event(), &body, timeout, self.clock.as_ref()).await,
            }
        };
        let outcome = match tokio::time::timeout(2 * timeout, call).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::unavailable("the heartbeat did not answer")),
        };
        if beat == Beat::Start {
            let failed = outcome.is_err();
            self.counters.add(policy.name.as_str(), "heartbeat", |t| if failed { t.failed += 1 } else { t.sent += 1 });
            if let Err(error) = outcome {
                let error = scrub.clean(&error.full_message());
                tracing::warn!(policy = %policy.name, error, "the heartbeat was not told that a run begins");
            }
            return;
        }
        self.note_beat(policy, vault, beat, body, outcome, &scrub).await;
    }

    /// Counts a call; records one that did not arrive, and the first that does after that.
    async fn note_beat(
        &self,
        policy: &Policy,
        vault: Option<&Vault>,
        beat: Beat<'_>,
        body: String,
        outcome: Result<()>,
        scrub: &Scrub,
    ) {
        let now = self.clock.now();
        let arrived = outcome.is_ok();
        let mut delivery = self.begun("heartbeat", now);
        self.settle(policy, now, &mut delivery, outcome, scrub);
        for _ in 0..RACES {
            let seen = self.look(policy, vault, Topic::Heartbeat).await;
            let was_lost = seen.last.as_ref().is_some_and(|n| n.deliveries.iter().any(|d| d.state != DeliveryState::Sent));
            if arrived && !was_lost {
                return;
            }
            let standing = Standing { open: !arrived, since: now, told: 1, reminders: 0, causes: Vec::new() };
            let title = format!("call of the heartbeat address ({})", beat.event());
            let event = Event::plain(&title, &body);
            let mut notice = self.notice(Topic::Heartbeat, beat.event(), scrub, &event, standing);
            notice.number = seen.number;
            notice.deliveries = vec![delivery.clone()];
            let entry = self.make(vault, &seen, &notice).await;
            if !matches!(entry, Entry::Taken) {
                self.remember(policy, Topic::Heartbeat, Some(notice), matches!(entry, Entry::Made(_)));
                return;
            }
        }
    }

    /// Sends a test to every channel, and says for each what it is and whether the test arrived. Tests are recorded where there is a
    /// vault, so that a channel that was broken is known to work again.
    pub async fn test(&self, policy: &Policy, vault: Option<&Vault>) -> Vec<(&'static str, Result<String>)> {
        let scrub = Scrub::of(policy, &self.env);
        let now = self.clock.now();
        let standing = Standing { open: false, since: now, told: 1, reminders: 0, causes: Vec::new() };
        let event = Event::plain("test of the notifications", "If you can read this, messages of pgkeep reach you here.");
        let mut notice = self.notice(Topic::Test, "test", &scrub, &event, standing);
        let message = Message::new(policy, &notice);
        let names: Vec<&'static str> =
            policy.notify.channels().into_iter().chain(policy.notify.heartbeat.as_ref().map(|_| "heartbeat")).collect();
        let sends = names.iter().map(|name| async {
            let channel = Channel::of(policy, name, &self.env)?;
            channel.send(&message, self.limits.send).await?;
            Ok(channel.describe())
        });
        let outcomes: Vec<Result<String>> = futures::future::join_all(sends).await;
        for (name, outcome) in names.iter().zip(&outcomes) {
            let error = outcome.as_ref().err().map(|e| scrub.clean(&e.full_message()));
            let state = if error.is_some() { DeliveryState::GivenUp } else { DeliveryState::Sent };
            notice.deliveries.push(Delivery { state, next_try_at: None, error, ..self.begun(name, now) });
        }
        let seen = self.look(policy, vault, Topic::Test).await;
        notice.number = seen.number;
        self.make(vault, &seen, &notice).await;
        let clean =
            |e: Error| Error::new(e.kind(), scrub.clean(&e.full_message())).hint(e.hint_text().unwrap_or("check [notify]"));
        names.into_iter().zip(outcomes).map(|(name, outcome)| (name, outcome.map_err(clean))).collect()
    }

    /// Numbers for metrics, by policy and channel.
    pub fn counts(&self) -> Vec<ChannelCounts> {
        let mut pending: BTreeMap<(String, String), u64> = BTreeMap::new();
        for ((policy, _), known) in &self.book().known {
            for delivery in known.notice.iter().flat_map(|n| &n.deliveries).filter(|d| !d.is_settled()) {
                *pending.entry((policy.clone(), delivery.channel.clone())).or_default() += 1;
            }
        }
        self.counters.with(pending)
    }

    /// `work` on the vault, given up when it takes too long.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout(self.limits.store, work).await.unwrap_or_else(|_| {
            Err(Error::unavailable(format!("the store did not answer within {} s", self.limits.store.as_secs_f64())))
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remember(&self, policy: &Policy, topic: Topic, notice: Option<Notice>, recorded: bool) {
        let known = Known { notice, recorded, at: self.clock.now() };
        self.book().known.insert((policy.name.to_string(), topic), known);
    }

    /// What this process knows well enough not to ask again.
    fn fresh(&self, policy: &Policy, topic: Topic, now: Timestamp) -> Option<Known> {
        let known = self.book().known.get(&(policy.name.to_string(), topic)).cloned()?;
        (known.at <= now && elapsed(known.at, now) < NOTIFY_SCAN).then_some(known)
    }

    /// Whether it is time to look for messages that wait, in the vault or here.
    pub(super) fn scan_is_due(&self, policy: &Policy, now: Timestamp) -> bool {
        let mut book = self.book();
        let name = policy.name.to_string();
        let waits = |k: &Known| {
            let deliveries = k.notice.iter().flat_map(|n| &n.deliveries);
            deliveries.filter(|d| !d.is_settled()).any(|d| d.next_try_at.is_some_and(|at| at <= now))
        };
        let due = book.known.iter().any(|((policy, _), known)| *policy == name && waits(known));
        let long_ago = book.scanned.get(&name).is_none_or(|at| *at > now || elapsed(*at, now) >= NOTIFY_SCAN);
        if due || long_ago {
            book.scanned.insert(name, now);
        }
        due || long_ago
    }

    /// The last entry of `topic` that only this process knows of.
    pub(super) fn unrecorded(&self, policy: &Policy, topic: Topic) -> Option<Notice> {
        self.book().known.get(&(policy.name.to_string(), topic)).filter(|k| !k.recorded)?.notice.clone()
    }

    /// Whether nothing of the entry `number` of `topic` waits to be sent, as far as this process knows.
    pub(super) fn is_settled(&self, policy: &Policy, topic: Topic, number: u64) -> bool {
        self.book().known.get(&(policy.name.to_string(), topic)).is_some_and(|k| {
            k.recorded && k.notice.as_ref().is_some_and(|n| n.number == number && n.deliveries.iter().all(Delivery::is_settled))
        })
    }
}
