//! What this process knows without asking the vault.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::base::clock::elapsed;
use crate::base::limits::NOTIFY_SCAN;
use crate::policy::Policy;
use crate::repo::notices::{Delivery, Notice, Topic};

/// Last entries of logs, by policy and topic.
#[derive(Debug, Default)]
pub(super) struct Book {
    known: HashMap<(String, Topic), Known>,
    scanned: HashMap<String, Timestamp>,
}

/// The last entry of a topic as this process knows it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) notice: Option<Notice>,
    /// Whether the vault has it.
    pub(super) recorded: bool,
    at: Timestamp,
}

fn key(policy: &Policy, topic: Topic) -> (String, Topic) {
    (policy.name.to_string(), topic)
}

impl Book {
    /// Notes the last entry, as known at `at`.
    pub(super) fn remember(&mut self, policy: &Policy, topic: Topic, notice: Option<Notice>, recorded: bool, at: Timestamp) {
        self.known.insert(key(policy, topic), Known { notice, recorded, at });
    }

    pub(super) fn known(&self, policy: &Policy, topic: Topic) -> Option<&Known> {
        self.known.get(&key(policy, topic))
    }

    /// What is known well enough not to ask again.
    pub(super) fn fresh(&self, policy: &Policy, topic: Topic, now: Timestamp) -> Option<&Known> {
        self.known(policy, topic).filter(|k| k.at <= now && elapsed(k.at, now) < NOTIFY_SCAN)
    }

    /// Whether it is time to look for messages that wait, in the vault or here; if so, it is noted that somebody looks.
    pub(super) fn scan_is_due(&mut self, policy: &Policy, now: Timestamp) -> bool {
        let waits = |d: &Delivery| !d.is_settled() && d.next_try_at.is_some_and(|at| at <= now);
        let own = self.known.iter().filter(|((name, _), _)| *name == policy.name.as_str());
        let waiting = own.filter_map(|(_, k)| k.notice.as_ref()).any(|n| n.deliveries.iter().any(waits));
        let last = self.scanned.get(policy.name.as_str());
        let due = waiting || last.is_none_or(|at| *at > now || elapsed(*at, now) >= NOTIFY_SCAN);
        if due {
            self.scanned.insert(policy.name.to_string(), now);
        }
        due
    }

    /// The last entry of `topic` that no vault has.
    pub(super) fn unrecorded(&self, policy: &Policy, topic: Topic) -> Option<&Notice> {
        self.known(policy, topic).filter(|k| !k.recorded)?.notice.as_ref()
    }

    /// Whether nothing of the entry `number` of `topic` waits to be sent.
    pub(super) fn is_settled(&self, policy: &Policy, topic: Topic, number: u64) -> bool {
        let settled = |n: &Notice| n.number == number && n.deliveries.iter().all(Delivery::is_settled);
        self.known(policy, topic).is_some_and(|k| k.recorded && k.notice.as_ref().is_some_and(settled))
    }

    /// Messages that wait, by policy and channel.
    pub(super) fn pending(&self) -> BTreeMap<(String, String), u64> {
        let mut pending: BTreeMap<(String, String), u64> = BTreeMap::new();
        for ((policy, _), known) in &self.known {
            for delivery in known.notice.iter().flat_map(|n| &n.deliveries).filter(|d| !d.is_settled()) {
                *pending.entry((policy.clone(), delivery.channel.clone())).or_default() += 1;
            }
        }
        pending
    }
}
