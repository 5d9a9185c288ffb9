//! From events to messages: what was told is read from the vault, and what is told is written there before it is sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::book::Book;
use super::channel::Channel;
use super::counts::{ChannelCounts, Counters};
use super::decide::{Standing, decide};
use super::event::{Event, Outcome, RunEnd};
use super::heartbeat::Beat;
use super::message::Message;
use super::scrub::Scrub;
use crate::base::clock::SharedClock;
use crate::base::ids::random_hex;
use crate::base::limits::{NOTIFY_MAX_AGE, NOTIFY_RETRIES, NOTIFY_TEXT_CHARS, NOTIFY_TIMEOUT};
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
pub(super) const RACES: usize = 5;

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

/// The last entry of a topic, and where the next one goes.
pub(super) struct Seen {
    pub(super) logs: Option<Logs>,
    pub(super) last: Option<Notice>,
    /// Whether the vault has that one.
    pub(super) recorded: bool,
    pub(super) number: u64,
}

/// What became of a new entry.
pub(super) enum Entry {
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
        // The age is looked at every minute. Runs are rare, and what another process said since must count for them.
        if event.topics == [Topic::Age]
            && self.book().fresh(policy, topic, now).is_some_and(|known| decide(known.notice.as_ref()).is_none())
        {
            return false;
        }
        for _ in 0..RACES {
            let seen = self.look(policy, vault, topic).await;
            let Some(standing) = decide(seen.last.as_ref()) else {
                self.remember(policy, topic, seen.last, seen.recorded);
                return false;
            };
            let mut notice = self.notice(topic, event.kind.as_str(), &scrub, event, standing);
            notice.number = seen.number;
            if !quiet {
                notice.deliveries = policy.notify.channels().iter().map(|c| Delivery::begin(c, now)).collect();
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

    pub(super) fn notice(&self, topic: Topic, event: &str, scrub: &Scrub, from: &Event, standing: Standing) -> Notice {
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

    /// What was told last: by the vault, or by this process where it could not write that down.
    pub(super) async fn look(&self, policy: &Policy, vault: Option<&Vault>, topic: Topic) -> Seen {
        let known = self.book().known(policy, topic).cloned();
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
            let recorded = known.as_ref().is_some_and(|k| k.recorded);
            let last = known.and_then(|k| k.notice);
            return Seen { logs: None, number: last.as_ref().map_or(1, |n| n.number + 1), last, recorded };
        };
        let number = logs.last_number(topic) + 1;
        let newer = known.filter(|k| !k.recorded).and_then(|k| k.notice);
        let newer = newer.filter(|n| last.as_ref().is_none_or(|l| n.at > l.at));
        let recorded = newer.is_none();
        Seen { logs: Some(logs), last: newer.or(last), recorded, number }
    }

    pub(super) async fn make(&self, vault: Option<&Vault>, seen: &Seen, notice: &Notice) -> Entry {
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
        let channel = self.in_time_to_send(Channel::of(policy, channel, &self.env)).await?;
        channel.send(message, self.limits.send).await
    }

    /// Notes in `delivery` how its try ended.
    pub(super) fn settle(&self, policy: &Policy, at: Timestamp, delivery: &mut Delivery, outcome: Result<()>, scrub: &Scrub) {
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

    /// Numbers for metrics, by policy and channel.
    pub fn counts(&self) -> Vec<ChannelCounts> {
        self.counters.with(self.book().pending())
    }

    /// `work` on the vault, given up when it takes too long.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout(self.limits.store, work).await.unwrap_or_else(|_| {
            Err(Error::unavailable(format!("the store did not answer within {} s", self.limits.store.as_secs_f64())))
        })
    }

    /// `work` that a message waits for, given up when it takes too long.
    pub(super) async fn in_time_to_send<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout(self.limits.send, work).await.unwrap_or_else(|_| {
            Err(Error::unavailable(format!("its references could not be resolved within {} s", self.limits.send.as_secs_f64())))
        })
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remember(&self, policy: &Policy, topic: Topic, notice: Option<Notice>, recorded: bool) {
        let now = self.clock.now();
        self.book().remember(policy, topic, notice, recorded, now);
    }
}
