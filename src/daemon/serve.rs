//! The command `serve`: puts scheduler, HTTP, signals and service manager together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::control;
use super::notify::Notifier;
use super::runner::Runner;
use super::scheduler::{Scheduler, Service};
use super::state::State;
use super::watch::Limits;
use super::web::{Server, Token};
use crate::base::progress::Silent;
use crate::base::{Error, Result};
use crate::jobs::Context;
use crate::jobs::context::host_name;

/// What `serve` is told.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Address of the HTTP interface.
    pub listen: SocketAddr,
    /// Runs that may go on at the same time.
    pub max_runs: usize,
    /// File with the API's token.
    pub token_file: Option<PathBuf>,
    /// When a run is taken for stalled.
    pub limits: Limits,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8474)), max_runs: 2, token_file: None, limits: Limits::default() }
    }
}

/// Serves until `cx` is cancelled; a run that goes on then ends as cancelled. Fails at once where the policies or the address cannot be used.
pub async fn serve(cx: &Context, options: &ServeOptions) -> Result<()> {
    let cx = Context { progress: Arc::new(Silent), ..cx.clone() };
    if cx.store.is_some() {
        return Err(Error::usage("serve takes no --store: each policy names its own").hint("leave --store out"));
    }
    let state = State::new(&host_name(), cx.clock.now(), options.max_runs);
    let notifier = Notifier::new(cx.clock.clone(), cx.env.clone());
    let runner = Arc::new(Runner::for_daemon(&cx, notifier.clone(), state.clone(), options.limits));
    let server = Server::bind(options.listen).await?;
    let token = Token::load(options.token_file.as_deref(), &cx.env)?;
    let mut scheduler = Scheduler::new(&cx, &state, notifier, runner).with_timers().await?;
    let count = scheduler.reload()?;
    let (control, requests) = control::channel();
    let reloads = hangups()?;
    let (web, shown) = (cx.clone(), state.clone());
    let serving = tokio::spawn(async move { server.run(&web, shown, control, token).await });
    tracing::info!(policies = count, max_runs = options.max_runs, directory = %cx.directory().display(), "serving");
    Systemd::ready(count);
    scheduler.run(requests, reloads, &Systemd).await?;
    if let Ok(Err(error)) = serving.await {
        tracing::warn!(%error, "the HTTP interface ended badly");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Rings for each SIGHUP; several at once are one.
fn hangups() -> Result<mpsc::Receiver<()>> {
    let mut hangup = signal(SignalKind::hangup()).map_err(|e| Error::internal("listen for SIGHUP").source(e))?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() && !sender.is_closed() {
            let _ = sender.try_send(());
        }
    });
    Ok(receiver)
}

/// Tells systemd, where it listens.
struct Systemd;

impl Systemd {
    fn tell(states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }

    fn ready(policies: usize) {
        Self::tell(&[NotifyState::Ready, NotifyState::Status(&format!("{policies} policies"))]);
    }
}

impl Service for Systemd {
    fn alive(&self, state: &State) {
        let (going, queued) = state.with(|s| (s.policies.values().filter(|p| p.current.is_some()).count(), s.queue.len()));
        let broken = state.with(|s| s.reload.as_ref().filter(|r| !r.ok).and_then(|r| r.error.clone()));
        let status = match broken {
            Some(error) => format!("the policies on disk are invalid, the old ones are in force: {}", error.replace('\n', "; ")),
            None => format!("{} policies, {going} runs, {queued} waiting", state.with(|s| s.policies.len())),
        };
        Self::tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
    }

    fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => Self::tell(&[NotifyState::Reloading, now]),
            Err(_) => Self::tell(&[NotifyState::Reloading]),
        }
    }

    fn reloaded(&self, outcome: Result<usize>) {
        match outcome {
            Ok(count) => tracing::info!(policies = count, "policies loaded"),
            Err(error) => tracing::error!(%error, "the policies were not loaded; those loaded before stay in force"),
        }
        Self::tell(&[NotifyState::Ready]);
    }

    fn stopping(&self) {
        tracing::info!("stopping");
        Self::tell(&[NotifyState::Stopping]);
    }
}
