//! The part of `doctor` that looks at notifications, and tries them.

use super::channel::Channel;
use super::notifier::Notifier;
use crate::jobs::Context;
use crate::jobs::doctor::{Check, DoctorReport, Verdict};
use crate::policy::Policy;

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
            report.checks.extend(if send { tried(cx, &loaded.policy).await } else { resolved(cx, &loaded.policy) });
        }
    }
}

/// Whether what the channels need is there.
fn resolved(cx: &Context, policy: &Policy) -> Vec<Check> {
    let names = policy.notify.channels().into_iter().chain(policy.notify.heartbeat.as_ref().map(|_| "heartbeat"));
    let check = |name| {
        let outcome = Channel::of(policy, name, &cx.env).map(|channel| format!("{}; not tried", channel.describe()));
        let mut check = Check::of(policy.name.as_str(), name, outcome);
        if check.verdict == Verdict::Pass {
            check.hint = Some("`pgkeep doctor --notify` sends a test".to_owned());
        }
        check
    };
    names.map(check).collect()
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
