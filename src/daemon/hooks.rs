//! Local commands around a backup: run as a process group of their own, for a limited time, and remembered in the run's record.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::notify::Scrub;
use crate::base::clock::Stopwatch;
use crate::base::process::kill_group;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::policy::Policy;
use crate::policy::model::HookCommand;
use crate::repo::runs::{HookRun, Run};

/// Bytes of output that are kept: the last ones, which say what went wrong.
const OUTPUT_BYTES: usize = 8 << 10;
/// How long output is waited for after the command ended: what it started in the background may hold the pipe open.
const DRAIN: Duration = Duration::from_secs(1);
/// Exit code by which a `before` hook says that trying again later may help: EX_TEMPFAIL of sysexits(3).
const TRY_AGAIN: i32 = 75;
/// Variables of the daemon itself that are nobody else's business.
const WITHHELD: [&str; 4] = ["PGKEEP_API_TOKEN", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Which of a policy's hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Before,
    After,
    OnFailure,
    Finally,
}

impl Hook {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::OnFailure => "on_failure",
            Self::Finally => "finally",
        }
    }

    /// What the policy says for it.
    pub(super) fn command(self, policy: &Policy) -> Option<&HookCommand> {
        let hooks = &policy.hooks;
        match self {
            Self::Before => hooks.before.as_ref(),
            Self::After => hooks.after.as_ref(),
            Self::OnFailure => hooks.on_failure.as_ref(),
            Self::Finally => hooks.finally.as_ref(),
        }
    }
}

/// Runs a hook if the policy has it, and adds what it did to `run`. An error says why it failed; `stop` kills it.
pub(super) async fn call(hook: Hook, policy: &Policy, run: &mut Run, scrub: &Scrub, stop: &Shutdown) -> Result<()> {
    let Some(command) = hook.command(policy) else { return Ok(()) };
    tracing::info!(policy = %policy.name, run = %run.run, hook = hook.name(), "hook");
    let (watch, tail) = (Stopwatch::start(), Tail::default());
    let outcome = match start(command, hook, policy, run) {
        Ok(child) => finish(child, &tail, &document(hook, policy, run), policy.hooks.timeout, stop).await,
        Err(error) => Err(error),
    };
    let (exit_code, error) = match outcome {
        Ok(0) => (Some(0), None),
        Ok(code) => (Some(code), Some(failed(hook, code))),
        Err(error) => (None, Some(error.context(format!("hook '{}'", hook.name())))),
    };
    run.hooks.push(HookRun {
        hook: hook.name().to_owned(),
        exit_code,
        error: error.as_ref().map(Error::full_message),
        seconds: watch.elapsed().as_secs_f64(),
        output: scrub.clean(&tail.text()),
    });
    error.map_or(Ok(()), Err)
}

fn failed(hook: Hook, code: i32) -> Error {
    let message = format!("hook '{}' failed with exit code {code}", hook.name());
    let hint = "its output is in the run's record";
    if code == TRY_AGAIN { Error::unavailable(message).hint(hint) } else { Error::gate(message).hint(hint) }
}

fn start(command: &HookCommand, hook: Hook, policy: &Policy, run: &Run) -> Result<Child> {
    let mut process = match command {
        HookCommand::Shell(text) => {
            let mut process = Command::new("/bin/sh");
            process.arg("-c").arg(text);
            process
        }
        HookCommand::Program(words) => {
            let mut process = Command::new(words.first().map(String::as_str).unwrap_or_default());
            process.args(words.iter().skip(1));
            process
        }
    };
    process.envs(variables(hook, policy, run)).process_group(0).kill_on_drop(true);
    for name in WITHHELD {
        process.env_remove(name);
    }
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.spawn().map_err(|e| Error::gate("cannot be started").source(e).hint("check the command's path and permissions"))
}

fn variables(hook: Hook, policy: &Policy, run: &Run) -> Vec<(&'static str, String)> {
    let name =
        |value: serde_json::Result<serde_json::Value>| value.ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let mut all = vec![
        ("PGKEEP_HOOK", hook.name().to_owned()),
        ("PGKEEP_POLICY", policy.name.to_string()),
        ("PGKEEP_RUN", run.run.to_string()),
        ("PGKEEP_KIND", name(serde_json::to_value(run.kind))),
        ("PGKEEP_STATE", name(serde_json::to_value(run.state))),
        ("PGKEEP_STARTED_AT", run.started_at.to_string()),
    ];
    all.extend(run.trigger.map(|t| ("PGKEEP_TRIGGER", name(serde_json::to_value(t)))));
    all.extend(run.slot.map(|slot| ("PGKEEP_SLOT", slot.to_string())));
    all.extend(run.label.clone().map(|label| ("PGKEEP_LABEL", label)));
    all.extend(run.committed_at.and(run.backup.as_ref()).map(|backup| ("PGKEEP_BACKUP", backup.to_string())));
    if let Some(error) = &run.error {
        all.push(("PGKEEP_ERROR_KIND", error.kind.clone()));
        all.push(("PGKEEP_ERROR", error.message.clone()));
    }
    all
}

fn document(hook: Hook, policy: &Policy, run: &Run) -> Vec<u8> {
    let document = json!({ "pgkeep": 1, "hook": hook.name(), "policy": policy.name.as_str(), "run": run });
    format!("{document:#}\n").into_bytes()
}

/// Waits for the command's end, and kills it with all that it started when it takes too long or is not wanted any more.
async fn finish(mut child: Child, tail: &Tail, document: &[u8], timeout: Duration, stop: &Shutdown) -> Result<i32> {
    let group = child.id();
    let readers = [
        child.stdout.take().map(|pipe| tokio::spawn(read(pipe, tail.clone()))),
        child.stderr.take().map(|pipe| tokio::spawn(read(pipe, tail.clone()))),
    ];
    let stdin = child.stdin.take();
    let ended = tokio::time::timeout(timeout, async {
        let feed = async {
            // A command that does not read is no less good.
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(document).await;
            }
        };
        let wait = async { child.wait().await.map_err(|e| Error::internal("wait for its end").source(e)) };
        let ((), status) = tokio::join!(feed, stop.guard(wait));
        status
    });
    let ended = ended.await;
    if !matches!(ended, Ok(Ok(_)))
        && let Some(group) = group
    {
        kill_group(group);
        let _ = child.wait().await;
    }
    for reader in readers.into_iter().flatten() {
        let stopper = reader.abort_handle();
        let _ = tokio::time::timeout(DRAIN, reader).await;
        stopper.abort();
    }
    let status = ended.unwrap_or_else(|_| {
        let took = crate::base::units::format_duration(timeout);
        Err(Error::gate(format!("it was killed because it took longer than {took}"))
            .hint("raise hooks.timeout, or make it quicker"))
    })?;
    status.code().ok_or_else(|| Error::gate(format!("it ended by {status}")))
}

async fn read(mut pipe: impl AsyncRead + Unpin, tail: Tail) {
    let mut buffer = [0; 4096];
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        tail.push(&buffer[..count]);
    }
}

/// The last bytes of both outputs, as they came.
#[derive(Debug, Clone, Default)]
struct Tail(Arc<Mutex<(Vec<u8>, bool)>>);

impl Tail {
    fn push(&self, bytes: &[u8]) {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.0.extend_from_slice(bytes);
        // Twice as much as is kept: the cut is made seldom, and a secret at its edge is whole when it is looked for.
        if tail.0.len() > 2 * OUTPUT_BYTES {
            let cut = tail.0.len() - OUTPUT_BYTES;
            tail.0.drain(..cut);
            tail.1 = true;
        }
    }

    fn text(&self) -> String {
        let tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&tail.0);
        // The line of the cut may hold half a secret that no mask would find.
        let text = if tail.1 { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &*text };
        if tail.1 { format!("…\n{text}") } else { text.to_owned() }
    }
}
