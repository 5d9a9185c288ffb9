//! One place for every run, whoever wants it: hooks, watchdog, deadline, what others see of it, and who is told how it ended.
//!
//! ```text
//! scheduler, API, command line ─▶ Runner ─▶ jobs::{backup, verify, prune} ─▶ Recorder ─▶ Attendance: hooks, state, notifications
//! ```
//!
//! The run's record is where its outcome is decided; exit code, log, metric and notification all follow from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::hooks::{self, Hook};
use super::notify::{Notifier, Outcome, RunEnd, Scrub, Tail};
use super::state::{CurrentRun, State};
use super::watch::{HOOK, Limits, Watch};
use crate::base::progress::Progress as _;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Kind, Result};
use crate::jobs::Context;
use crate::jobs::backup::{self, BackupOptions, BackupReport};
use crate::jobs::due::NotDue;
use crate::jobs::prune::{self, PlannedPrune};
use crate::jobs::run::{Attendant, Order};
use crate::jobs::verify::{self, VerifyReport, VerifyRequest};
use crate::policy::Policy;
use crate::repo::Vault;
use crate::repo::lease::LeaseLost;
use crate::repo::proofs::Level;
use crate::repo::runs::{EndedBy, Run, RunKind, RunState, Trigger};
use crate::repo::sweep::Pruned;

/// Runs what policies ask for.
#[derive(Debug, Clone)]
pub struct Runner {
    cx: Context,
    notifier: Arc<Notifier>,
    state: Option<State>,
    limits: Limits,
}

/// What one run does.
#[derive(Debug, Clone)]
pub enum Work {
    /// Makes a backup.
    Backup {
        /// A name to find it by.
        label: Option<String>,
    },
    /// Verifies the newest backup.
    Verify {
        /// How deep; the policy's level if not given.
        level: Option<Level>,
    },
    /// Applies retention.
    Prune,
}

impl Work {
    /// The kind of its runs.
    pub const fn kind(&self) -> RunKind {
        match self {
            Self::Backup { .. } => RunKind::Backup,
            Self::Verify { .. } => RunKind::Verify,
            Self::Prune => RunKind::Prune,
        }
    }
}

/// A run that the daemon has decided on.
#[derive(Debug, Clone)]
pub struct Job {
    /// The policy, as it is in force.
    pub policy: Arc<Policy>,
    /// What to do.
    pub work: Work,
    /// Who wants it.
    pub order: Order,
}

/// How a run is stopped from outside.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Stops it.
    pub shutdown: Shutdown,
    operator: Arc<AtomicBool>,
}

impl Stop {
    /// Stops with `shutdown`, and alone.
    pub fn new(shutdown: &Shutdown) -> Self {
        Self { shutdown: shutdown.child(), operator: Arc::default() }
    }

    /// Somebody does not want the run.
    pub fn by_operator(&self) {
        self.operator.store(true, Ordering::Relaxed);
        self.shutdown.cancel_because(|| Error::cancelled("somebody cancelled the run"));
    }
}

/// How a run of the daemon ended.
#[derive(Debug)]
pub struct Ended {
    /// Its outcome.
    pub outcome: Result<()>,
    /// Whether the vault has a record of it. Without, nobody but this process knows that it was tried.
    pub recorded: bool,
}

/// What carries out a [`Job`]. The daemon has [`Runner`]; tests of the scheduler have less.
#[async_trait]
pub trait Body: Send + Sync + std::fmt::Debug {
    /// Runs to the end.
    async fn run(&self, job: Job, stop: Stop) -> Ended;
}

impl Runner {
    /// For commands: nothing is shown to anybody.
    pub fn new(cx: &Context) -> Self {
        let notifier = Notifier::new(cx.clock.clone(), cx.env.clone());
        Self { cx: cx.clone(), notifier, state: None, limits: Limits::default() }
    }

    /// The same with other limits.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// For the daemon.
    pub fn for_daemon(cx: &Context, notifier: Arc<Notifier>, state: State, limits: Limits) -> Self {
        Self { cx: cx.clone(), notifier, state: Some(state), limits }
    }

    /// Backs a policy up.
    pub async fn backup(&self, name: &str, options: &BackupOptions) -> Result<BackupReport> {
        let attended = self.attend(name, RunKind::Backup, &options.order, Stop::new(&self.cx.shutdown));
        attended.end(backup::backup(&attended.cx, name, options).await).await
    }

    /// Verifies a policy's backups.
    pub async fn verify(&self, name: &str, request: &VerifyRequest) -> Result<VerifyReport> {
        let attended = self.attend(name, RunKind::Verify, &request.order, Stop::new(&self.cx.shutdown));
        attended.end(verify::verify(&attended.cx, name, request).await).await
    }

    /// Applies a prune that was planned.
    pub async fn prune(&self, planned: &PlannedPrune, force_large: bool, order: &Order) -> Result<Pruned> {
        let attended = self.attend(&planned.policy, RunKind::Prune, order, Stop::new(&self.cx.shutdown));
        attended.end(prune::apply(&attended.cx, planned, force_large, order).await).await
    }

    /// Plans a prune that will be applied without asking: what keeps it from being applied has to be heard of.
    pub async fn plan_prune(&self, name: &str, force_large: bool, order: &Order) -> Result<(PlannedPrune, Option<Error>)> {
        let attended = self.attend(name, RunKind::Prune, order, Stop::new(&self.cx.shutdown));
        let planned = self.cx.shutdown.guard(prune::plan(&attended.cx, name)).await;
        let planned = attended.end(planned).await?;
        let refusal = match planned.refusal(force_large) {
            Some(refusal) => Some(prune::record_refusal(&attended.cx, &planned, order, refusal).await),
            None => None,
        };
        Ok((planned, refusal))
    }

    fn attend(&self, name: &str, kind: RunKind, order: &Order, stop: Stop) -> Attended {
        // Without a readable policy there are no hooks and nobody to tell; the job itself says what is wrong with it.
        let loaded = || crate::policy::load(&self.cx.directory(), name).ok().map(|l| Arc::new(l.policy));
        let policy = self.cx.in_force.clone().filter(|p| p.name.as_str() == name).or_else(loaded);
        let shown = self.state.clone().map(|state| (state, name.to_owned()));
        let watch = Watch::new(self.cx.progress.clone(), self.cx.clock.clone(), shown.clone());
        let now = self.cx.clock.now();
        if let Some(run) = &order.id {
            watch.show(CurrentRun {
                run: run.clone(),
                kind,
                slot: order.slot,
                label: None,
                backup: None,
                stage: String::new(),
                started_at: now,
                stage_started_at: now,
                bytes: 0,
                total_bytes: None,
                progress_at: now,
            });
        }
        let deadline = policy.as_ref().map_or(crate::policy::schedule::DEFAULT_DEADLINE, |p| p.deadline());
        let guard = watch.guard(stop.shutdown.clone(), self.limits, deadline);
        let tail = Tail::new(Arc::<Watch>::clone(&watch), self.cx.clock.clone());
        let attendance = Arc::new(Attendance {
            scrub: policy.as_ref().map(|p| Scrub::of(p, &self.cx.env)).unwrap_or_default(),
            policy,
            kind,
            notifier: self.notifier.clone(),
            shown,
            watch,
            tail: tail.clone(),
            stop: stop.clone(),
            ended: Mutex::new(None),
        });
        let cx = Context {
            progress: tail,
            shutdown: stop.shutdown,
            attendant: Arc::<Attendance>::clone(&attendance),
            ..self.cx.clone()
        };
        Attended { cx, attendance, _guard: guard }
    }
}

/// As much as the command line has, which runs the same jobs on the main thread: without optimisation one with Amazon's SDK needs more than the 2 MiB
/// that a thread has by default.
const RUN_STACK_BYTES: usize = 8 << 20;

#[async_trait]
impl Body for Runner {
    /// On a thread of its own: the compiler cannot prove the future of a job `Send`, which a task has to be.
    async fn run(&self, job: Job, stop: Stop) -> Ended {
        let (runner, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let (sender, receiver) = oneshot::channel();
        let thread = std::thread::Builder::new().name("run".to_owned()).stack_size(RUN_STACK_BYTES);
        let started = thread.spawn(move || {
            let _ = sender.send(runtime.block_on(runner.carry_out(job, stop)));
        });
        let failed = |error: Error| Ended { outcome: Err(error), recorded: false };
        match started {
            Ok(_) => receiver.await.unwrap_or_else(|_| failed(Error::internal("a run ended in a panic"))),
            Err(error) => failed(Error::unavailable("start a thread for a run").source(error)),
        }
    }
}

impl Runner {
    async fn carry_out(&self, job: Job, stop: Stop) -> Ended {
        let name = job.policy.name.to_string();
        let runner = Self { cx: Context { in_force: Some(job.policy.clone()), ..self.cx.clone() }, ..self.clone() };
        let attended = runner.attend(&name, job.work.kind(), &job.order, stop);
        let cx = &attended.cx;
        let mut judged = true;
        let outcome = match job.work {
            Work::Backup { label } => {
                let options = BackupOptions { label, order: job.order, ..BackupOptions::default() };
                backup::backup(cx, &name, &options).await.and_then(|r| r.failure().map_or(Ok(()), Err))
            }
            Work::Verify { level } => {
                let request = VerifyRequest { level, order: job.order, ..VerifyRequest::default() };
                verify::verify(cx, &name, &request).await.and_then(|r| r.failure().map_or(Ok(()), Err))
            }
            Work::Prune => apply_retention(cx, &name, &job.order).await.map(|could| judged = could),
        };
        let recorded = attended.attendance.has_ended();
        let outcome = if recorded { outcome } else { attended.end(outcome).await };
        if outcome.is_ok() && judged && !recorded && attended.attendance.kind == RunKind::Prune {
            // A prune that found nothing to do: what kept an earlier one from its work is over.
            attended.attendance.unrecorded(&attended.cx, Outcome::Good).await;
        }
        attended.attendance.watch.hide();
        Ended { outcome, recorded }
    }
}

/// False: whether old backups may be removed could not be judged, and nobody asked.
async fn apply_retention(cx: &Context, name: &str, order: &Order) -> Result<bool> {
    let planned = cx.shutdown.guard(prune::plan(cx, name)).await?;
    if planned.waits_for_what_is_due() && order.trigger == Some(Trigger::Schedule) {
        return Ok(false);
    }
    if let Some(refusal) = planned.refusal(false) {
        return Err(prune::record_refusal(cx, &planned, order, refusal).await);
    }
    // Whoever asks for a prune gets a record of it; after each backup one that changes nothing is none.
    if planned.is_empty() && order.trigger == Some(Trigger::Schedule) {
        return Ok(true);
    }
    let pruned = prune::apply(cx, &planned, false, order).await?;
    tracing::info!(policy = name, marked = pruned.marked.len(), swept = pruned.swept.len(), "old backups removed");
    Ok(true)
}

/// A run with everybody who belongs to it.
struct Attended {
    cx: Context,
    attendance: Arc<Attendance>,
    _guard: tokio_util::sync::DropGuard,
}

impl Attended {
    /// Tells of an outcome that left no record: the store did not answer, or the policy cannot be used.
    async fn end<T>(&self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome
            && !self.attendance.has_ended()
        {
            self.attendance.unrecorded(&self.cx, Outcome::Failed(error)).await;
        }
        outcome
    }
}

/// Present at one run.
#[derive(Debug)]
struct Attendance {
    policy: Option<Arc<Policy>>,
    kind: RunKind,
    scrub: Scrub,
    notifier: Arc<Notifier>,
    shown: Option<(State, String)>,
    watch: Arc<Watch>,
    tail: Arc<Tail>,
    stop: Stop,
    ended: Mutex<Option<RunState>>,
}

impl Attendance {
    fn has_ended(&self) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    async fn unrecorded(&self, cx: &Context, outcome: Outcome<'_>) {
        let nobody_failed = match outcome {
            Outcome::Good => false,
            // Somebody else has the lease, or did the work already; or nobody wants it any more.
            Outcome::Bad(error) | Outcome::Failed(error) => {
                NotDue::marks(error) || matches!(error.kind(), Kind::Conflict | Kind::Cancelled | Kind::Usage)
            }
        };
        let Some(policy) = self.policy.as_ref().filter(|_| !nobody_failed) else { return };
        let vault = self.notifier.find_vault(cx, policy.name.as_str()).await;
        let text = self.tail.text();
        let end = RunEnd { kind: self.kind, run: None, backup: None, outcome, tail: Some(&text) };
        self.notifier.run_ended(policy, vault.as_ref(), &end).await;
    }

    /// Hooks after the work run to their end also when the run was cancelled: they put right what `before` changed.
    async fn after(&self, hook: Hook, policy: &Policy, run: &mut Run) {
        if let Err(error) = hooks::call(hook, policy, run, &self.scrub, &Shutdown::new()).await {
            tracing::warn!(policy = %policy.name, run = %run.run, %error, "a hook failed; the run ends as it would without it");
        }
    }
}

#[async_trait]
impl Attendant for Attendance {
    async fn begun(&self, run: &mut Run) -> Result<()> {
        self.watch.record(run);
        let Some(policy) = &self.policy else { return Ok(()) };
        tracing::info!(policy = %policy.name, run = %run.run, kind = run.kind.name(), slot = run.slot.map(tracing::field::display), attempt = run.attempt, "run begins");
        self.notifier.run_started(policy, run.kind).await;
        if run.kind != RunKind::Backup || policy.hooks.before.is_none() {
            return Ok(());
        }
        self.watch.stage(HOOK, None);
        hooks::call(Hook::Before, policy, run, &self.scrub, &self.stop.shutdown).await
    }

    async fn ending(&self, run: &mut Run) {
        if run.state == RunState::Cancelled && self.stop.operator.load(Ordering::Relaxed) {
            run.ended_by = Some(EndedBy::Operator);
        }
        // What jobs ran themselves they cannot clean; what is clean stays as it is.
        for hook in &mut run.hooks {
            hook.output = self.scrub.clean(&hook.output);
        }
        let Some(policy) = self.policy.as_ref().filter(|_| run.kind == RunKind::Backup) else { return };
        let hooks = [if run.state == RunState::Succeeded { Hook::After } else { Hook::OnFailure }, Hook::Finally];
        if hooks.iter().any(|hook| hook.command(policy).is_some()) {
            self.watch.stage(HOOK, None);
        }
        for hook in hooks {
            self.after(hook, policy, run).await;
        }
    }

    async fn ended(&self, vault: &Vault, run: &Run, outcome: Result<(), &Error>) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(run.state);
        match outcome {
            Ok(()) => tracing::info!(policy = vault.policy(), run = %run.run, kind = run.kind.name(), "run succeeded"),
            Err(error) if self.shown.is_some() => {
                tracing::error!(policy = vault.policy(), run = %run.run, kind = run.kind.name(), state = run.state.name(), %error, "run ended");
            }
            Err(_) => {}
        }
        if let Some((state, policy)) = &self.shown {
            state.with_policy(policy, |p| {
                p.count(run.kind, run.state);
                p.retries += u64::from(run.attempt.is_some_and(|n| n > 1));
                p.last.insert(run.kind, run.clone());
                if run.kind == RunKind::Backup && run.state == RunState::Succeeded {
                    p.last_success = Some(run.clone());
                }
            });
        }
        let Some(policy) = &self.policy else { return };
        let made = run.committed_at.is_some();
        let found = run.kind == RunKind::Verify && run.error.as_ref().is_some_and(|e| e.kind == Kind::Integrity.name());
        let told = match outcome {
            Ok(()) => Outcome::Good,
            Err(error) if (made || found) && !LeaseLost::marks(error) => Outcome::Bad(error),
            Err(error) => Outcome::Failed(error),
        };
        let text = self.tail.text();
        let end = RunEnd { kind: run.kind, run: Some(&run.run), backup: run.backup.as_ref(), outcome: told, tail: Some(&text) };
        self.notifier.run_ended(policy, Some(vault), &end).await;
    }
}
