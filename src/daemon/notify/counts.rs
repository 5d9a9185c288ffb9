//! Numbers for metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// One channel of one policy, since this process started.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ChannelCounts {
    /// The policy.
    pub policy: String,
    /// `webhook`, `email`, `sns` or `heartbeat`.
    pub channel: String,
    /// Messages that the other side took.
    pub sent: u64,
    /// Tries that did not succeed.
    pub failed: u64,
    /// Messages given up: their tries or their time ran out.
    pub given_up: u64,
    /// Messages that wait to be sent again, as far as this process knows.
    pub pending: u64,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) failed: u64,
    pub(super) given_up: u64,
}

/// Counters by policy and channel.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<BTreeMap<(String, String), Tally>>);

impl Counters {
    pub(super) fn add(&self, policy: &str, channel: &str, change: impl FnOnce(&mut Tally)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry((policy.to_owned(), channel.to_owned())).or_default());
    }

    /// All, with what waits by policy and channel.
    pub(super) fn with(&self, mut pending: BTreeMap<(String, String), u64>) -> Vec<ChannelCounts> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut counts: Vec<ChannelCounts> = Vec::new();
        for ((policy, channel), tally) in all {
            let pending = pending.remove(&(policy.clone(), channel.clone())).unwrap_or(0);
            counts.push(ChannelCounts {
                policy,
                channel,
                sent: tally.sent,
                failed: tally.failed,
                given_up: tally.given_up,
                pending,
            });
        }
        for ((policy, channel), pending) in pending {
            counts.push(ChannelCounts { policy, channel, sent: 0, failed: 0, given_up: 0, pending });
        }
        counts
    }
}
