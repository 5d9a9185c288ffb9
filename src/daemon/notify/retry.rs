//! Messages that did not arrive, sent again.
//!
//! Only the last message of a topic is: an older one would tell what is no longer so. Whoever sends it claims it first by compare-and-swap,
//! so that two processes do not both send it; a claim that nobody fulfils runs out.

use jiff::Timestamp;

use super::book::Book;
use super::notifier::Notifier;
use crate::base::Result;
use crate::base::clock::{add, elapsed};
use crate::base::limits::{NOTIFY_CLAIM, NOTIFY_MAX_AGE};
use crate::policy::Policy;
use crate::repo::Vault;
use crate::repo::notices::{self, Delivery, DeliveryState, Logs, Notice, Topic};
use crate::store::ETag;

impl Notifier {
    /// Sends again what is due: messages of this process and, looked for every ten minutes, those of others that died or gave up the
    /// process. Cheap when nothing is due; call it every minute and after each run.
    pub async fn retry_due(&self, policy: &Policy, vault: Option<&Vault>) {
        let now = self.clock.now();
        if (policy.notify.channels().is_empty() && policy.notify.heartbeat.is_none()) || !self.book().scan_is_due(policy, now) {
            return;
        }
        for topic in Topic::ALL {
            let unrecorded = self.book().unrecorded(policy, topic).cloned();
            if let Some(claimed) = unrecorded.and_then(|notice| self.claim(policy, &notice, now)) {
                self.deliver(policy, None, claimed).await;
            }
        }
        let Some(vault) = vault else { return };
        match self.in_time(self.waiting(policy, vault, now)).await {
            Err(error) => tracing::warn!(policy = %policy.name, %error, "the vault does not say which notices wait"),
            Ok(waiting) => {
                for (claimed, seen) in waiting {
                    match self.in_time(notices::update(vault, &claimed, seen)).await {
                        Ok(Some(etag)) => self.deliver(policy, Some((vault, etag)), claimed).await,
                        Ok(None) => {}
                        Err(error) => tracing::warn!(policy = %policy.name, %error, "a notice that waits could not be claimed"),
                    }
                }
            }
        }
    }

    /// Last entries of the logs of which something is due, as they are to be claimed, with their version before that.
    async fn waiting(&self, policy: &Policy, vault: &Vault, now: Timestamp) -> Result<Vec<(Notice, ETag)>> {
        let logs = Logs::list(vault).await?;
        let mut waiting = Vec::new();
        for topic in Topic::ALL {
            let number = logs.last_number(topic);
            let known = |book: &Book| book.unrecorded(policy, topic).is_some() || book.is_settled(policy, topic, number);
            if known(&self.book()) {
                continue;
            }
            let Some((notice, etag)) = logs.last(vault, topic).await? else { continue };
            self.remember(policy, topic, Some(notice.clone()), true);
            waiting.extend(self.claim(policy, &notice, now).map(|claimed| (claimed, etag)));
        }
        Ok(waiting)
    }

    /// The notice with everything that is due begun or given up; `None` when nothing is due.
    fn claim(&self, policy: &Policy, notice: &Notice, now: Timestamp) -> Option<Notice> {
        let channels = policy.notify.channels();
        let there = |d: &Delivery| {
            channels.contains(&d.channel.as_str()) || (d.channel == "heartbeat" && policy.notify.heartbeat.is_some())
        };
        let mut claimed = notice.clone();
        let mut any = false;
        for delivery in claimed.deliveries.iter_mut().filter(|d| !d.is_settled() && d.next_try_at.is_none_or(|at| at <= now)) {
            any = true;
            if !there(delivery) || elapsed(notice.at, now) >= NOTIFY_MAX_AGE {
                delivery.state = DeliveryState::GivenUp;
                delivery.next_try_at = None;
                self.counters.add(policy.name.as_str(), &delivery.channel, |t| t.given_up += 1);
            } else {
                delivery.state = DeliveryState::Pending;
                delivery.tries += 1;
                delivery.last_try_at = now;
                delivery.next_try_at = Some(add(now, NOTIFY_CLAIM));
            }
        }
        any.then_some(claimed)
    }
}
