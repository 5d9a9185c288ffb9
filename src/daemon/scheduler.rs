//! The daemon's loop: a task for each policy, timers that wake them, requests, reloads, and the sign of life.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_cron_scheduler::{Job as TimerJob, JobScheduler};

use super::control::Envelope;
use super::desk::{Desk, Gate, Message};
use super::keeper::Keeper;
use super::notify::Notifier;
use super::runner::Body;
use super::state::{Reload, State};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::jobs::Context;
use crate::policy::{self, Policy};

/// How often the loop goes round when nothing happens.
const ROUND: Duration = Duration::from_secs(5);
/// Messages that wait for a policy's task.
const INBOX: usize = 32;

/// Every policy of one daemon.
#[derive(Debug)]
pub struct Scheduler {
    cx: Context,
    state: State,
    notifier: Arc<Notifier>,
    body: Arc<dyn Body>,
    gate: Gate,
    desks: BTreeMap<String, Handle>,
    timer: Option<mpsc::UnboundedSender<(String, Duration)>>,
    bells: Bells,
}

/// Bells by policy, shared with the timers.
type Bells = Arc<std::sync::Mutex<HashMap<String, Arc<Notify>>>>;

#[derive(Debug)]
struct Handle {
    policy: Arc<Policy>,
    inbox: mpsc::Sender<Message>,
    task: JoinHandle<()>,
    /// Whether it was told to end.
    retired: bool,
}

impl Scheduler {
    /// With `body` for the runs, at most as many at a time as `state` says. No policy yet.
    pub fn new(cx: &Context, state: &State, notifier: Arc<Notifier>, body: Arc<dyn Body>) -> Self {
        let places = state.with(|s| s.max_runs);
        Self {
            cx: cx.clone(),
            state: state.clone(),
            notifier,
            body,
            gate: Gate::new(places, state.clone()),
            desks: BTreeMap::new(),
            timer: None,
            bells: Bells::default(),
        }
    }

    /// Lets timers wake the policies' tasks at the right second; without, they wake by themselves every half minute.
    pub async fn with_timers(mut self) -> Result<Self> {
        self.timer = Some(timers(self.bells.clone(), self.cx.shutdown.clone()).await?);
        Ok(self)
    }

    /// Reads the policy files and puts them in force. Where any of them is bad nothing changes, and the error says what is wrong.
    pub fn reload(&mut self) -> Result<usize> {
        let now = self.cx.clock.now();
        let loaded = policy::load_all(&self.cx.directory());
        self.state.with(|state| {
            let before = state.reload.as_ref().and_then(|r| r.loaded_at);
            state.reload = Some(Reload {
                at: now,
                ok: loaded.is_ok(),
                error: loaded.as_ref().err().map(Error::full_message),
                loaded_at: if loaded.is_ok() { Some(now) } else { before },
            });
        });
        let policies = loaded?;
        let count = policies.len();
        self.apply(policies);
        Ok(count)
    }

    /// Puts these policies in force, and no others.
    pub fn apply(&mut self, policies: Vec<Policy>) {
        let mut wanted: BTreeMap<String, Policy> = policies.into_iter().map(|p| (p.name.to_string(), p)).collect();
        for (name, handle) in &mut self.desks {
            if !wanted.contains_key(name) && !handle.retired {
                tracing::info!(policy = name, "the policy is gone");
                handle.retired = true;
                let _ = handle.inbox.try_send(Message::Retire);
            }
        }
        for (name, handle) in &mut self.desks {
            let Some(policy) = wanted.get(name).filter(|_| !handle.retired && !handle.task.is_finished()) else { continue };
            let same = policy.path == handle.policy.path && format!("{policy:?}") == format!("{:?}", handle.policy);
            let policy = Arc::new(wanted.remove(name).unwrap_or_else(|| Policy::clone(&handle.policy)));
            if !same {
                tracing::info!(policy = name, "the policy changed");
                handle.policy = policy.clone();
                let _ = handle.inbox.try_send(Message::Replace(policy));
            }
        }
        for (_, policy) in wanted {
            self.open(Arc::new(policy));
        }
    }

    fn open(&mut self, policy: Arc<Policy>) {
        let name = policy.name.to_string();
        let (inbox, receiver) = mpsc::channel(INBOX);
        let bell = Arc::new(Notify::new());
        self.bells.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name.clone(), bell.clone());
        let desk = Desk {
            keeper: Keeper::new(policy.clone(), &self.cx, &self.state, self.notifier.clone()),
            clock: self.cx.clock.clone(),
            body: self.body.clone(),
            gate: self.gate.clone(),
            inbox: receiver,
            bell,
            timer: self.timer.clone(),
            shutdown: self.cx.shutdown.clone(),
        };
        self.desks.insert(name, Handle { policy, inbox, task: tokio::spawn(desk.serve()), retired: false });
    }

    /// Goes round until `requests` end or the daemon is asked to stop; then lets every run end. `reloads` rings when the files are to be read
    /// again; `alive` is called each round.
    pub async fn run(
        &mut self,
        mut requests: mpsc::Receiver<Envelope>,
        mut reloads: mpsc::Receiver<()>,
        service: &dyn Service,
    ) -> Result<()> {
        let shutdown = self.cx.shutdown.clone();
        while !shutdown.is_cancelled() {
            self.sweep();
            self.state.with(|state| state.alive_at = self.cx.clock.now());
            service.alive(&self.state);
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(envelope) = requests.recv() => self.pass_on(envelope),
                Some(()) = reloads.recv() => {
                    service.reloading();
                    let outcome = self.reload();
                    service.reloaded(outcome);
                }
                () = self.cx.clock.sleep(ROUND) => {}
            }
        }
        self.state.with(|state| state.stopping = true);
        service.stopping();
        for handle in std::mem::take(&mut self.desks).into_values() {
            let _ = handle.task.await;
        }
        Ok(())
    }

    /// Removes tasks that ended; one that ended by a bug is begun again, so that no policy is forgotten.
    fn sweep(&mut self) {
        let ended: Vec<String> = self.desks.iter().filter(|(_, h)| h.task.is_finished()).map(|(n, _)| n.clone()).collect();
        for name in ended {
            let Some(handle) = self.desks.remove(&name) else { continue };
            if handle.retired {
                self.state.with(|state| state.policies.remove(&name));
                self.bells.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&name);
            } else if !self.cx.shutdown.is_cancelled() {
                tracing::error!(policy = name, "the policy's task ended by a bug and is begun again");
                self.open(handle.policy);
            }
        }
    }

    fn pass_on(&self, envelope: Envelope) {
        let name = envelope.request.policy().to_owned();
        let Some(handle) = self.desks.get(&name) else {
            let _ = envelope.answer.send(Err(Error::not_found(format!("there is no policy '{name}' in force here"))));
            return;
        };
        if let Err(refused) = handle.inbox.try_send(Message::Request(envelope))
            && let Message::Request(envelope) = refused.into_inner()
        {
            let _ = envelope.answer.send(Err(Error::unavailable("the policy's task does not answer").hint("try again")));
        }
    }
}

/// What the loop tells whoever supervises the process.
pub trait Service: Send + Sync {
    /// The loop goes round.
    fn alive(&self, _state: &State) {}
    /// The files are read again.
    fn reloading(&self) {}
    /// With this outcome.
    fn reloaded(&self, _outcome: Result<usize>) {}
    /// No run is started any more.
    fn stopping(&self) {}
}

/// Rings a policy's bell when its time has come. A timer that does not fire costs half a minute, no slot.
async fn timers(bells: Bells, shutdown: Shutdown) -> Result<mpsc::UnboundedSender<(String, Duration)>> {
    let failed = |e| Error::internal("start the timers").source(e);
    let mut scheduler = JobScheduler::new().await.map_err(failed)?;
    scheduler.start().await.map_err(failed)?;
    let (sender, mut receiver) = mpsc::unbounded_channel::<(String, Duration)>();
    tokio::spawn(async move {
        let mut set = HashMap::new();
        loop {
            let (name, after) = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(next) = receiver.recv() => next,
            };
            if let Some(old) = set.remove(&name) {
                // One that has fired is gone already.
                let _ = scheduler.remove(&old).await;
            }
            let Some(bell) = bells.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&name).cloned() else {
                continue;
            };
            let job = TimerJob::new_one_shot(after, move |_, _| bell.notify_one());
            match job {
                Ok(job) => match scheduler.add(job).await {
                    Ok(id) => {
                        set.insert(name, id);
                    }
                    Err(error) => tracing::warn!(policy = name, %error, "a timer could not be set"),
                },
                Err(error) => tracing::warn!(policy = name, %error, "a timer could not be made"),
            }
        }
        let _ = scheduler.shutdown().await;
    });
    Ok(sender)
}
