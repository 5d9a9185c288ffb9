//! The command line: one file a command, each from arguments to a [`Report`]; nothing is decided here.

pub mod args;
mod backup;
mod doctor;
mod iam_policy;
mod list;
mod output;
mod pins;
mod points;
mod policy;
mod progress;
mod prune;
mod restore;
mod restore_snapshots;
mod serve;
mod show;
mod status;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;

use clap::CommandFactory as _;
use tracing_subscriber::EnvFilter;

use self::args::{Cli, Command, PolicyCommand};
use self::output::{Report, finish};
use crate::base::clock::SystemClock;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Kind, Result};
use crate::jobs::Context;
use crate::policy::Environment;

/// Variable that replaces `-v`: a filter as `tracing` reads it.
const LOG_VARIABLE: &str = "PGKEEP_LOG";
/// Threads that hash, compress and write files. The C library keeps freed memory for each thread that it serves, so more threads cost memory and
/// bring nothing on the machines that we run on.
const BLOCKING_THREADS: usize = 8;
/// Crates that log the statements they send.
const DRIVERS: &[&str] = &["tokio_postgres", "postgres"];

/// Prints what clap has to say: help and version to stdout with code 0, a mistake to stderr with the usage code, and as JSON where that was asked for.
pub fn usage_error(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|a| a == "--json") {
        let text = error.render().to_string();
        let message = text.split("\n\n").next().unwrap_or(&text).trim_start_matches("error: ").trim().to_owned();
        return ExitCode::from(finish("usage", true, Err(Error::usage(message).hint("`pgkeep --help` shows the commands"))));
    }
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { Kind::Usage.exit_code() } else { 0 })
}

/// A filter that never lets the PostgreSQL driver log statements, which it does below `info`: they hold passwords. Directives by span are left
/// out, because they would hold for whatever runs inside it, the driver included.
fn log_filter(text: &str) -> Option<EnvFilter> {
    let wanted = |d: &&str| !d.contains('[') && !DRIVERS.iter().any(|driver| d.trim_start().starts_with(driver));
    let drivers: Vec<String> = DRIVERS.iter().map(|d| format!("{d}=info")).collect();
    let directives: Vec<&str> = text.split(',').filter(wanted).chain(drivers.iter().map(String::as_str)).collect();
    EnvFilter::try_new(directives.join(",")).ok()
}

/// Logs to stderr, warnings by default.
pub fn init_logging(cli: &Cli) {
    let global = &cli.global;
    // Whoever reads the daemon's log was not there when it happened.
    let verbose = global.verbose + u8::from(matches!(cli.command, Command::Serve(_)));
    // What the SDK warns of on its way to credentials, our own error says in one line if it matters.
    let level = match (global.quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn,aws_config=error",
        (false, 1) => "warn,aws_config=error,pgkeep=info",
        (false, 2) => "info,pgkeep=debug,tokio_cron_scheduler=warn",
        (false, _) => "debug",
    };
    let filter =
        std::env::var(LOG_VARIABLE).ok().and_then(|text| log_filter(&text)).or_else(|| log_filter(level)).unwrap_or_default();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .without_time()
        .try_init();
}

/// Runs a command to its end and returns the exit code; `shutdown` is cancelled by SIGINT and SIGTERM.
pub fn run_blocking(cli: Cli, shutdown: Shutdown) -> u8 {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.enable_all().max_blocking_threads(BLOCKING_THREADS).build() {
        Ok(runtime) => runtime,
        Err(error) => return finish("start", cli.global.json, Err(Error::internal("start the runtime").source(error))),
    };
    let code = runtime.block_on(async {
        tokio::spawn(cancel_on_signal(shutdown.clone()));
        run(cli, shutdown).await
    });
    // A blocking call that nobody waits for any more must not hold the process back.
    runtime.shutdown_background();
    code
}

async fn cancel_on_signal(shutdown: Shutdown) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    shutdown.cancel();
    // The second signal is for those who cannot wait: what is stored is safe at any instant.
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    std::process::exit(i32::from(Kind::Cancelled.exit_code()));
}

async fn run(cli: Cli, shutdown: Shutdown) -> u8 {
    let json = cli.global.json;
    let cx = Context {
        clock: Arc::new(SystemClock),
        progress: progress::choose(&cli.global),
        shutdown,
        policies: cli.global.policies.clone(),
        store: cli.global.store.clone(),
        env: Environment::process(),
        in_force: None,
        attendant: crate::jobs::run::nobody(),
    };
    let name = name(&cli.command);
    let outcome = dispatch(&cx, cli).await;
    match outcome {
        Ok(Some(report)) => finish(name, json, Ok(report)),
        Ok(None) => 0,
        Err(error) => {
            cx.progress.finish();
            finish(name, json, Err(error))
        }
    }
}

const fn name(command: &Command) -> &'static str {
    match command {
        Command::Backup(_) => "backup",
        Command::List(_) => "list",
        Command::Show(_) => "show",
        Command::Restore(_) => "restore",
        Command::Verify(_) => "verify",
        Command::Prune(_) => "prune",
        Command::Undelete(_) => "undelete",
        Command::Pin(_) => "pin",
        Command::Unpin(_) => "unpin",
        Command::Status(_) => "status",
        Command::Doctor(_) => "doctor",
        Command::IamPolicy(_) => "iam-policy",
        Command::Serve(_) => "serve",
        Command::Policy(PolicyCommand::Check { .. }) => "policy check",
        Command::Policy(PolicyCommand::Explain { .. }) => "policy explain",
        Command::Policy(PolicyCommand::Schema) => "policy schema",
        Command::Completions { .. } => "completions",
    }
}

/// `None`: the command has printed what it had to, in a form that is not a report.
async fn dispatch(cx: &Context, cli: Cli) -> Result<Option<Report>> {
    let json = cli.global.json;
    let report = match cli.command {
        Command::Backup(args) => backup::run(cx, &args).await?,
        Command::List(args) => cx.shutdown.guard(list::run(cx, &args)).await?,
        Command::Show(args) => cx.shutdown.guard(show::run(cx, &args)).await?,
        Command::Restore(args) => restore::run(cx, &args, json).await?,
        Command::Verify(args) => verify::run(cx, &args).await?,
        Command::Prune(args) => prune::run(cx, &args, json).await?,
        Command::Undelete(args) => pins::undelete(cx, &args).await?,
        Command::Pin(args) => pins::pin(cx, &args).await?,
        Command::Unpin(args) => pins::unpin(cx, &args).await?,
        Command::Status(args) => cx.shutdown.guard(status::run(cx, &args)).await?,
        Command::Doctor(args) => cx.shutdown.guard(doctor::run(cx, &args)).await?,
        Command::IamPolicy(args) => cx.shutdown.guard(iam_policy::run(cx, &args)).await?,
        Command::Serve(args) => {
            serve::run(cx, &args).await?;
            return Ok(None);
        }
        Command::Policy(PolicyCommand::Check { policy }) => policy::check(cx, policy.as_deref())?,
        Command::Policy(PolicyCommand::Explain { policy }) => policy::explain(cx, &policy).await?,
        Command::Policy(PolicyCommand::Schema) => {
            output::write_out(&policy::schema()?);
            return Ok(None);
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pgkeep", &mut script);
            output::write_out(&String::from_utf8_lossy(&script));
            return Ok(None);
        }
    };
    Ok(Some(report))
}
