//! Brings the application to rest while snapshots are started, and lets it go again whatever happens.
//!
//! The thaw is run by us after the calls, also when they fail and when the run is cancelled. For the case that we are killed in between, a process of its
//! own waits beside the application from before the freeze on, and thaws when its time is over or when it is asked to end (systemd does so with all
//! processes of a service that died, if its unit says `KillMode=control-group`). Ours coming first, it is told to go.

use std::process::Stdio;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::Order;
use crate::base::clock::{SharedClock, Stopwatch, SystemClock};
use crate::base::process::kill_group;
use crate::base::shutdown::Shutdown;
use crate::base::units::format_duration;
use crate::base::{Error, Result};
use crate::cloud::ssm;
use crate::policy::model::{Freeze, HookCommand, Quiesce, QuiesceOn};
use crate::repo::runs::HookRun;

/// Waits `$0` seconds or for a signal that asks it to end, then becomes the command in the other arguments.
const LATER: &str =
    "trap 'kill \"$waiting\" 2>/dev/null; exec \"$@\"' TERM INT HUP; sleep \"$0\" & waiting=$!; wait \"$waiting\"; exec \"$@\"";
/// Variables of the daemon itself that are nobody else's business.
const WITHHELD: [&str; 4] = ["PGKEEP_API_TOKEN", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
/// Bytes of each output that are kept at least: the last ones, which say what went wrong.
const OUTPUT_BYTES: usize = 4 << 10;
/// How long output is waited for after a command ended.
const DRAIN: Duration = Duration::from_secs(1);
/// Longest time for our own thaw: the application stands still meanwhile.
const THAW: Duration = Duration::from_secs(60);

/// What is brought to rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest<'a> {
    /// What the policy says; `None`: nothing is.
    pub(super) settings: Option<&'a Quiesce>,
    /// The backup.
    pub(super) order: &'a Order,
    /// Region of the instances.
    pub(super) region: &'a str,
    /// Instances whose volumes are taken.
    pub(super) instances: &'a [&'a str],
}

/// Runs `work` with the application at rest. Beside its value: what a person should know.
pub(super) async fn during<T>(
    rest: &Rest<'_>,
    shutdown: &Shutdown,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, Vec<String>)> {
    let Some(settings) = rest.settings else { return Ok((work.await?, Vec::new())) };
    let place = Place::of(rest, settings)?;
    let watch = Stopwatch::start();
    let mut guards = Guards::default();
    let frozen = place.freeze(rest, settings, shutdown, &mut guards).await;
    let outcome = match frozen {
        Ok(()) => work.await,
        Err(error) => Err(error),
    };
    let took = watch.elapsed();
    let thawed = place.thaw(rest, settings, &mut guards).await;
    let value = match (outcome, thawed) {
        (Ok(value), Ok(())) => value,
        (Err(error), Ok(())) => return Err(error),
        (Ok(_), Err(unthawed)) => return Err(unthawed),
        (Err(error), Err(unthawed)) => {
            tracing::error!(error = %unthawed, "the application may still be at rest");
            return Err(error);
        }
    };
    let mut notes = Vec::new();
    if settings.thaw.is_some() && took > settings.timeout {
        let (took, limit) = (format_duration(took), format_duration(settings.timeout));
        notes.push(format!(
            "only crash-consistent: AWS took {took} to start the snapshots, and the application was thawed after {limit}"
        ));
    }
    Ok((value, notes))
}

/// Processes of this machine that thaw when nobody else does.
#[derive(Debug, Default)]
struct Guards(Vec<Child>);

enum Place<'a> {
    Local,
    Instances(&'a [&'a str]),
}

impl<'a> Place<'a> {
    fn of(rest: &Rest<'a>, settings: &Quiesce) -> Result<Self> {
        match settings.on {
            QuiesceOn::Local => Ok(Self::Local),
            QuiesceOn::Instance if rest.instances.is_empty() => {
                Err(Error::policy("quiesce is to run on the instance, and the volumes are attached to none")
                    .hint("remove source.quiesce, or let it run where pgkeep does: on = \"local\""))
            }
            QuiesceOn::Instance => Ok(Self::Instances(rest.instances)),
        }
    }

    async fn freeze(&self, rest: &Rest<'_>, settings: &Quiesce, shutdown: &Shutdown, guards: &mut Guards) -> Result<()> {
        let limit = settings.timeout;
        match self {
            Self::Local => {
                if let Some(thaw) = &settings.thaw {
                    guards.0.push(thaw_later(thaw, limit, rest)?);
                }
                let Freeze::Command(freeze) = &settings.freeze else {
                    return Err(Error::policy("a document freezes on an instance only").hint("add on = \"instance\""));
                };
                local("freeze", words(freeze), limit, rest, shutdown).await
            }
            Self::Instances(instances) => {
                for instance in *instances {
                    freeze_instance(instance, settings, rest).await?;
                }
                Ok(())
            }
        }
    }

    async fn thaw(&self, rest: &Rest<'_>, settings: &Quiesce, guards: &mut Guards) -> Result<()> {
        let Some(thaw) = &settings.thaw else { return Ok(()) };
        let done = match self {
            // Nothing stops a thaw.
            Self::Local => local("thaw", words(thaw), THAW, rest, &Shutdown::new()).await,
            Self::Instances(instances) => {
                let mut first = Ok(());
                for instance in *instances {
                    let done = remote("thaw", ssm::Command::shell(instance, thaw_script(thaw, rest), THAW), rest).await;
                    first = first.and(done);
                }
                first
            }
        };
        // Where ours failed, the other one tries again.
        if done.is_ok() {
            for mut guard in guards.0.drain(..) {
                if let Some(group) = guard.id() {
                    kill_group(group);
                }
                let _ = guard.wait().await;
            }
        }
        done
    }
}

fn words(command: &HookCommand) -> Vec<String> {
    match command {
        HookCommand::Shell(text) => ["/bin/sh", "-c", text].map(str::to_owned).to_vec(),
        HookCommand::Program(words) => words.clone(),
    }
}

fn prepared(mut command: Command, what: &str, rest: &Rest<'_>) -> Command {
    command
        .env("PGKEEP_QUIESCE", what)
        .env("PGKEEP_POLICY", &rest.order.belonging.policy)
        .env("PGKEEP_BACKUP", rest.order.belonging.backup.as_str())
        .process_group(0)
        .stdin(Stdio::null());
    for name in WITHHELD {
        command.env_remove(name);
    }
    command
}

fn thaw_later(thaw: &HookCommand, after: Duration, rest: &Rest<'_>) -> Result<Child> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(LATER).arg(after.as_secs().max(1).to_string()).args(words(thaw));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    prepared(command, "thaw", rest)
        .spawn()
        .map_err(|e| Error::unavailable("start the process that thaws when pgkeep is killed").source(e))
}

/// How a command ended, and the end of what it wrote.
#[derive(Debug)]
struct Did {
    exit_code: Option<i32>,
    output: String,
    outcome: Result<()>,
}

/// Writes down what a command did, and gives its outcome on.
fn recorded(what: &str, rest: &Rest<'_>, watch: Stopwatch, did: Did) -> Result<()> {
    let run = HookRun {
        hook: what.to_owned(),
        exit_code: did.exit_code,
        error: did.outcome.as_ref().err().map(Error::full_message),
        seconds: watch.elapsed().as_secs_f64(),
        output: did.output,
    };
    rest.order.commands.lock().unwrap_or_else(PoisonError::into_inner).push(run);
    did.outcome
}

async fn local(what: &str, words: Vec<String>, limit: Duration, rest: &Rest<'_>, stop: &Shutdown) -> Result<()> {
    let watch = Stopwatch::start();
    let mut command = Command::new(words.first().map(String::as_str).unwrap_or_default());
    command.args(words.iter().skip(1)).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let did = match prepared(command, what, rest).spawn() {
        Ok(child) => wait(what, child, limit, stop).await,
        Err(e) => {
            let error =
                Error::gate(format!("{what} cannot be started")).source(e).hint("check the command's path and permissions");
            Did { exit_code: None, output: String::new(), outcome: Err(error) }
        }
    };
    recorded(what, rest, watch, did)
}

async fn wait(what: &str, mut child: Child, limit: Duration, stop: &Shutdown) -> Did {
    let readers =
        [child.stdout.take().map(|pipe| tokio::spawn(tail(pipe))), child.stderr.take().map(|pipe| tokio::spawn(tail(pipe)))];
    let group = child.id();
    let waits = stop.guard(async { child.wait().await.map_err(|e| Error::internal(format!("wait for {what}")).source(e)) });
    let ended = tokio::time::timeout(limit, waits).await;
    if !matches!(ended, Ok(Ok(_)))
        && let Some(group) = group
    {
        kill_group(group);
    }
    let mut output = String::new();
    for reader in readers.into_iter().flatten() {
        let stopper = reader.abort_handle();
        // What a command started in the background may hold the pipe open.
        if let Ok(Ok(text)) = tokio::time::timeout(DRAIN, reader).await {
            output.push_str(&text);
        }
        stopper.abort();
    }
    let exit_code = ended.as_ref().ok().and_then(|e| e.as_ref().ok()).and_then(std::process::ExitStatus::code);
    let outcome = match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Error::gate(format!("{what} ended by {status}")).hint("what it said is in the run's record")),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::gate(format!("{what} took longer than {} and was killed", format_duration(limit)))
            .hint("raise source.quiesce.timeout, or make it quicker")),
    };
    Did { exit_code, output, outcome }
}

/// The end of what comes through a pipe, cut at a line so that no half secret is left that nobody would find.
async fn tail(mut pipe: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut cut, mut buffer) = (Vec::new(), false, [0; 4096]);
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > 2 * OUTPUT_BYTES {
            kept.drain(..kept.len() - OUTPUT_BYTES);
            cut = true;
        }
    }
    let text = String::from_utf8_lossy(&kept).into_owned();
    if cut { text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned()) } else { text }
}

/// A document cannot start what thaws later, so that this is done by a command before it.
async fn freeze_instance(instance: &str, settings: &Quiesce, rest: &Rest<'_>) -> Result<()> {
    let limit = settings.timeout;
    let guard = settings.thaw.as_ref().map(|thaw| thaw_later_line(thaw, limit, rest));
    match &settings.freeze {
        Freeze::Command(freeze) => {
            remote("freeze", ssm::Command::shell(instance, freeze_script(guard, freeze), limit), rest).await
        }
        Freeze::Document(freeze) => {
            if let Some(line) = guard {
                remote("guard", ssm::Command::shell(instance, vec![line], limit), rest).await?;
            }
            let (document, parameters) = (freeze.document.clone(), freeze.parameters.clone());
            remote("freeze", ssm::Command { document, parameters, ..ssm::Command::shell(instance, Vec::new(), limit) }, rest)
                .await
        }
    }
}

async fn remote(what: &str, mut command: ssm::Command, rest: &Rest<'_>) -> Result<()> {
    let watch = Stopwatch::start();
    command.comment = format!("pgkeep {what} {}", rest.order.belonging.backup);
    let instance = &command.instance;
    let clock: SharedClock = Arc::new(SystemClock);
    let did = match ssm::run(Some(rest.region), &command, &clock).await {
        Ok(done) => Did {
            exit_code: done.exit_code,
            outcome: done.check(instance).map_err(|e| e.context(what)),
            output: format!("{instance}, command {}\n{}", done.command_id, done.output),
        },
        Err(error) => Did { exit_code: None, output: instance.clone(), outcome: Err(error.context(what)) },
    };
    recorded(what, rest, watch, did)
}

/// Where the instance remembers its own thawing process.
fn pid_file(rest: &Rest<'_>) -> String {
    format!("/run/pgkeep-{}.pid", rest.order.belonging.backup)
}

/// Starts the process that thaws on the instance when nobody does.
fn thaw_later_line(thaw: &HookCommand, after: Duration, rest: &Rest<'_>) -> String {
    let later: Vec<String> = ["/bin/sh", "-c", LATER, &after.as_secs().max(1).to_string()]
        .iter()
        .map(|w| quote(w))
        .chain(words(thaw).iter().map(|w| quote(w)))
        .collect();
    format!("setsid {} </dev/null >/dev/null 2>&1 & echo $! >{}", later.join(" "), pid_file(rest))
}

fn freeze_script(guard: Option<String>, freeze: &HookCommand) -> Vec<String> {
    let freeze = words(freeze).iter().map(|w| quote(w)).collect::<Vec<_>>().join(" ");
    ["set -e".to_owned()].into_iter().chain(guard).chain([freeze]).collect()
}

fn thaw_script(thaw: &HookCommand, rest: &Rest<'_>) -> Vec<String> {
    let file = pid_file(rest);
    vec![
        "set -e".to_owned(),
        words(thaw).iter().map(|w| quote(w)).collect::<Vec<_>>().join(" "),
        format!("if [ -s {file} ]; then kill -9 \"-$(cat {file})\" 2>/dev/null || true; rm -f {file}; fi"),
    ]
}

/// One word of a shell's line.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::tags::Belonging;

    fn order() -> Order {
        Order {
            belonging: Belonging {
                policy: "volumes".to_owned(),
                vault: "v".to_owned(),
                backup: "20261122T021500Z-7f3a".parse().expect("id"),
                account: None,
            },
            label: None,
            commands: crate::jobs::snapshot::Commands::default(),
        }
    }

    fn settings(folder: &std::path::Path, freeze: &str) -> Quiesce {
        let log = folder.join("log");
        Quiesce {
            freeze: Freeze::Command(HookCommand::Shell(format!("echo freeze >>{}; {freeze}", log.display()))),
            thaw: Some(HookCommand::Shell(format!("echo thaw >>{}", log.display()))),
            on: QuiesceOn::Local,
            timeout: Duration::from_secs(2),
        }
    }

    #[tokio::test]
    async fn the_thaw_runs_once_whatever_becomes_of_the_call() {
        for (freeze, call_fails) in [("true", false), ("true", true), ("false", false)] {
            let folder = tempfile::tempdir().expect("folder");
            let (order, settings) = (order(), settings(folder.path(), freeze));
            let rest = Rest { settings: Some(&settings), order: &order, region: "eu-west-1", instances: &[] };
            let work = async { if call_fails { Err(Error::unavailable("no")) } else { Ok(()) } };
            let outcome = during(&rest, &Shutdown::new(), work).await;
            assert_eq!(outcome.is_ok(), freeze == "true" && !call_fails);
            tokio::time::timeout(Duration::from_secs(4), std::future::pending::<()>()).await.expect_err("time passes");
            let log = std::fs::read_to_string(folder.path().join("log")).expect("log");
            assert_eq!(log, "freeze\nthaw\n", "and not again by the other process");
        }
    }

    #[tokio::test]
    async fn a_process_of_its_own_thaws_when_nobody_does_or_when_it_is_asked_to_end() {
        for signal in [None, Some("TERM")] {
            let folder = tempfile::tempdir().expect("folder");
            let (order, settings) = (order(), settings(folder.path(), "true"));
            let rest = Rest { settings: Some(&settings), order: &order, region: "eu-west-1", instances: &[] };
            let after = Duration::from_secs(if signal.is_some() { 600 } else { 1 });
            let mut guard = thaw_later(settings.thaw.as_ref().expect("thaw"), after, &rest).expect("start");
            if let Some(signal) = signal {
                tokio::time::timeout(Duration::from_millis(300), guard.wait()).await.expect_err("it waits");
                let pid = guard.id().expect("it lives").to_string();
                assert!(Command::new("kill").args(["-s", signal, &pid]).status().await.expect("kill").success());
            }
            assert!(guard.wait().await.expect("wait").success());
            assert_eq!(std::fs::read_to_string(folder.path().join("log")).expect("log"), "thaw\n");
        }
    }

    #[test]
    fn scripts_for_instances_start_their_own_thaw_first_and_quote_every_word() {
        let order = order();
        let freeze = HookCommand::Program(vec!["fsfreeze".to_owned(), "-f".to_owned(), "/my data's".to_owned()]);
        let thaw = HookCommand::Shell("fsfreeze -u '/my data'".to_owned());
        let rest = Rest { settings: None, order: &order, region: "eu-west-1", instances: &["i-1"] };
        let script = freeze_script(Some(thaw_later_line(&thaw, Duration::from_secs(20), &rest)), &freeze);
        assert!(
            script[1].starts_with("setsid '/bin/sh' '-c' 'trap ") && script[1].contains("'20' '/bin/sh' '-c' 'fsfreeze -u '\\''")
        );
        assert_eq!(script[2], "'fsfreeze' '-f' '/my data'\\''s'");
        let checked = std::process::Command::new("/bin/sh").arg("-n").arg("-c").arg(script.join("\n")).status().expect("sh");
        assert!(checked.success(), "{script:?}");
    }

    #[test]
    fn the_thaw_on_an_instance_ends_the_process_that_would_do_it_later() {
        let folder = tempfile::tempdir().expect("folder");
        let order = order();
        let settings = Quiesce { on: QuiesceOn::Instance, timeout: Duration::from_secs(600), ..settings(folder.path(), "true") };
        let rest = Rest { settings: Some(&settings), order: &order, region: "eu-west-1", instances: &["i-1"] };
        let file = folder.path().join("pid");
        let here = |script: Vec<String>| script.join("\n").replace(&pid_file(&rest), &file.display().to_string());
        let sh = |script: &str| std::process::Command::new("/bin/sh").args(["-c", script]).status().expect("sh").success();
        let (Freeze::Command(freeze), Some(thaw)) = (&settings.freeze, &settings.thaw) else { panic!("commands") };
        assert!(sh(&here(freeze_script(Some(thaw_later_line(thaw, settings.timeout, &rest)), freeze))));
        let pid = std::fs::read_to_string(&file).expect("pid").trim().to_owned();
        // A process that ended and that nobody waited for has no command line.
        let lives = || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
        let watch = Stopwatch::start();
        // While one program takes the place of another there is no command line for a moment.
        while !lives() && watch.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        assert!(lives(), "it waits");
        assert!(sh(&here(thaw_script(thaw, &rest))));
        let watch = Stopwatch::start();
        while lives() && watch.elapsed() < Duration::from_secs(10) {
            std::thread::yield_now();
        }
        assert!(!lives(), "it is told to go");
        assert_eq!(std::fs::read_to_string(folder.path().join("log")).expect("log"), "freeze\nthaw\n");
    }
}
