//! A run that nobody schedules: what the daemon's runner does around each run, for a command.

use std::sync::Arc;

use super::{Notifier, Outcome, RunEnd, Tail};
use crate::base::ids::{BackupId, RunId};
use crate::base::{Error, Result};
use crate::jobs::Context;
use crate::repo::runs::RunKind;

/// Runs `work` for the policy `name` and tells how it ended. `failure`: what the report has to be called, and the backup that it is about.
/// The result is that of `work` whatever becomes of the messages.
pub async fn watched<T>(
    cx: &Context,
    name: &str,
    kind: RunKind,
    work: impl AsyncFnOnce(&Context) -> Result<T>,
    about: impl FnOnce(&T) -> (Option<Error>, Option<BackupId>),
) -> Result<T> {
    // Without a readable policy nobody knows whom to tell; the work itself says what is wrong with it.
    let Ok(policy) = crate::policy::load(&cx.directory(), name).map(|l| l.policy) else { return work(cx).await };
    if policy.notify.channels().is_empty() && policy.notify.heartbeat.is_none() {
        return work(cx).await;
    }
    let notifier = Notifier::new(cx.clock.clone(), cx.env.clone());
    let tail = Tail::new(cx.progress.clone(), cx.clock.clone());
    let inner = Context { progress: Arc::<Tail>::clone(&tail), ..cx.clone() };
    notifier.run_started(&policy, kind).await;
    let result = work(&inner).await;
    let (failure, backup) = result.as_ref().map_or((None, None), about);
    let vault = notifier.find_vault(cx, name).await;
    let text = tail.text();
    let run = backup.as_ref().filter(|_| kind == RunKind::Backup).map(RunId::from);
    let end = RunEnd {
        kind,
        run: run.as_ref(),
        backup: backup.as_ref(),
        outcome: Outcome::of(&result, failure.as_ref()),
        tail: Some(&text),
    };
    notifier.run_ended(&policy, vault.as_ref(), &end).await;
    result
}
