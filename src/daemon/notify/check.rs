//! The part of `doctor` that looks at notifications, and tries them.

use super::channel::Channel;
use super::decide::Standing;
use super::event::Event;
use super::message::Message;
use super::notifier::Notifier;
use super::scrub::Scrub;
use crate::base::{Error, Result};
use crate::jobs::Context;
use crate::jobs::doctor::{Check, DoctorReport, Verdict};
use crate::policy::Policy;
use crate::repo::Vault;
use crate::repo::notices::{Delivery, DeliveryState, Topic};

/// Checks the notifications of one policy, or all, into `report`: that every reference can be resolved and, with `send`, that a test
/// arrives on each channel.
pub async fn examine(cx: &Context, policy: Option<&str>, send: bool, report: &mut DoctorReport) {
    let names = match policy {
        Some(name) => vec![name.to_owned()],
        None => cx.names().await.unwrap_or_default(),
    };
    for name in names {
        // What is wrong with a policy that cannot be read was said by the other checks.
        if let Ok(loaded) = crate::policy::load(&cx.directory(), &name) {
            report.checks.extend(if send { tried(cx, &loaded.policy).await } else { resolved(cx, &loaded.policy).await });
        }
    }
}

/// Whether what the channels need is there.
async fn resolved(cx: &Context, policy: &Policy) -> Vec<Check> {
    let names = policy.notify.channels().into_iter().chain(policy.notify.heartbeat.as_ref().map(|_| "heartbeat"));
    let check = async |name| {
        let outcome = Channel::of(policy, name, &cx.env).await.map(|channel| format!("{}; not tried", channel.describe()));
        let mut check = Check::of(policy.name.as_str(), name, outcome);
        if check.verdict == Verdict::Pass {
            check.hint = Some("`pgkeep doctor --notify` sends a test".to_owned());
        }
        check
    };
    let mut checks = Vec::new();
    for name in names {
        checks.push(check(name).await);
    }
    checks
}

async fn tried(cx: &Context, policy: &Policy) -> Vec<Check> {
    let name = policy.name.as_str();
    if policy.notify.channels().is_empty() && policy.notify.heartbeat.is_none() {
        let mut check = Check::of(name, "notify", Ok("nobody is told when a run fails".to_owned()));
        check.verdict = Verdict::Warn;
        check.hint = Some("add [notify] with webhook, heartbeat, [notify.email] or [notify.sns]".to_owned());
        return vec![check];
    }
    let notifier = Notifier::new(cx.clock.clone(), cx.env.clone());
    let vault = notifier.find_vault(cx, name).await;
    let outcomes = notifier.test(policy, vault.as_ref()).await;
    let check = |(channel, outcome): (_, Result<String, _>)| {
        Check::of(name, channel, outcome.map(|what| format!("{what}: the test was taken")))
    };
    outcomes.into_iter().map(check).collect()
}

impl Notifier {
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
            let channel = Channel::of(policy, name, &self.env).await?;
            channel.send(&message, self.limits.send).await?;
            Ok(channel.describe())
        });
        let outcomes: Vec<Result<String>> = futures::future::join_all(sends).await;
        for (name, outcome) in names.iter().zip(&outcomes) {
            let error = outcome.as_ref().err().map(|e| scrub.clean(&e.full_message()));
            let state = if error.is_some() { DeliveryState::GivenUp } else { DeliveryState::Sent };
            notice.deliveries.push(Delivery { state, next_try_at: None, error, ..Delivery::begin(name, now) });
        }
        let seen = self.look(policy, vault, Topic::Test).await;
        notice.number = seen.number;
        self.make(vault, &seen, &notice).await;
        let clean =
            |e: Error| Error::new(e.kind(), scrub.clean(&e.full_message())).hint(e.hint_text().unwrap_or("check [notify]"));
        names.into_iter().zip(outcomes).map(|(name, outcome)| (name, outcome.map_err(clean))).collect()
    }
}
