//! Calls of the heartbeat address, around each backup run.

use std::time::Duration;

use super::decide::Standing;
use super::event::Event;
use super::heartbeat::{self, Beat};
use super::notifier::{Entry, Notifier, RACES};
use super::scrub::Scrub;
use crate::base::{Error, Result};
use crate::jobs::references;
use crate::policy::Policy;
use crate::repo::Vault;
use crate::repo::notices::{Delivery, DeliveryState, Topic};

/// Longest wait for the heartbeat before a run begins.
const START_TIMEOUT: Duration = Duration::from_secs(5);

impl Notifier {
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
            references::fetch(&settings.url, &self.env).await?;
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
        let mut delivery = Delivery::begin("heartbeat", now);
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
}
