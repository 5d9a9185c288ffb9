//! One policy's task: looks, starts what is due, answers requests, and ends cleanly.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::control::{Envelope, Request};
use super::keeper::{Keeper, TICK};
use super::runner::{Body, Ended, Job, Stop, Work};
use super::state::State;
use crate::base::clock::SharedClock;
use crate::base::ids::RunId;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::policy::Policy;
use crate::repo::runs::Trigger;

/// What a policy's task is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Somebody asks for something.
    Request(Envelope),
    /// The policy reads like this from now on.
    Replace(Arc<Policy>),
    /// The policy is gone: let its run end, and end.
    Retire,
}

/// The right to run, of which a host has only so many.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    state: State,
}

impl Gate {
    pub(super) fn new(places: usize, state: State) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), state }
    }

    /// Runs `work` when it is this policy's turn, in the order of asking.
    async fn pass<T>(&self, policy: &str, stop: &Shutdown, work: impl Future<Output = T>) -> Result<T> {
        let turn = if let Ok(turn) = Arc::clone(&self.places).try_acquire_owned() {
            turn
        } else {
            self.queue(|queue| queue.push(policy.to_owned()));
            let waiting =
                async { Arc::clone(&self.places).acquire_owned().await.map_err(|_| Error::internal("the gate is closed")) };
            let turn = stop.guard(waiting).await;
            self.queue(|queue| queue.retain(|name| name != policy));
            turn?
        };
        let done = work.await;
        drop(turn);
        Ok(done)
    }

    fn queue(&self, change: impl FnOnce(&mut Vec<String>)) {
        self.state.with(|state| {
            change(&mut state.queue);
            for (name, policy) in &mut state.policies {
                policy.queued = state.queue.iter().position(|n| n == name).map(|i| i + 1);
            }
        });
    }
}

/// A run that goes on or waits for its turn.
#[derive(Debug)]
struct Running {
    job: Job,
    stop: Stop,
    task: JoinHandle<Ended>,
}

/// The task of one policy.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) keeper: Keeper,
    pub(super) clock: SharedClock,
    pub(super) body: Arc<dyn Body>,
    pub(super) gate: Gate,
    pub(super) inbox: mpsc::Receiver<Message>,
    /// Rung by timers.
    pub(super) bell: Arc<Notify>,
    /// Told how long until the next look.
    pub(super) timer: Option<mpsc::UnboundedSender<(String, Duration)>>,
    pub(super) shutdown: Shutdown,
}

impl Desk {
    /// Serves until the policy retires or the daemon stops; a run that goes on is ended first.
    pub(super) async fn serve(mut self) {
        let mut running: Option<Running> = None;
        let (mut retiring, mut closed) = (false, false);
        loop {
            if (retiring || self.shutdown.is_cancelled()) && running.is_none() {
                return;
            }
            let again_in = self.look(&mut running, retiring).await;
            let stopping = self.shutdown.is_cancelled();
            tokio::select! {
                ended = end_of(&mut running) => {
                    if let Some((job, ended)) = ended {
                        self.keeper.ended(&job, &ended);
                    }
                }
                message = self.inbox.recv(), if !closed => match message {
                    Some(Message::Request(envelope)) => {
                        let answer = self.answer(envelope.request, &mut running, retiring);
                        let _ = envelope.answer.send(answer);
                    }
                    Some(Message::Replace(policy)) => self.keeper.replace(policy),
                    Some(Message::Retire) => retiring = true,
                    None => (retiring, closed) = (true, true),
                },
                () = self.bell.notified() => {}
                () = self.clock.sleep(again_in) => {}
                () = self.shutdown.cancelled(), if !stopping => {}
            }
        }
    }

    async fn look(&mut self, running: &mut Option<Running>, retiring: bool) -> Duration {
        if retiring || self.shutdown.is_cancelled() {
            return TICK;
        }
        let looking = self.keeper.look(running.is_some());
        let Ok(look) = self.shutdown.guard(async { Ok(looking.await) }).await else { return TICK };
        if let Some(job) = look.start {
            *running = Some(self.start(job));
        } else if let Some(timer) = self.timer.as_ref().filter(|_| look.again_in < TICK) {
            let _ = timer.send((self.keeper.policy().name.to_string(), look.again_in));
        }
        look.again_in
    }

    fn start(&self, job: Job) -> Running {
        let stop = Stop::new(&self.shutdown);
        let (body, gate, its_job, its_stop) = (self.body.clone(), self.gate.clone(), job.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let name = its_job.policy.name.to_string();
            let shutdown = its_stop.shutdown.clone();
            match gate.pass(&name, &shutdown, body.run(its_job, its_stop)).await {
                Ok(ended) => ended,
                Err(error) => Ended { outcome: Err(error), recorded: false },
            }
        });
        Running { job, stop, task }
    }

    fn answer(&self, request: Request, running: &mut Option<Running>, retiring: bool) -> Result<RunId> {
        let name = self.keeper.policy().name.clone();
        if let Request::Cancel { .. } = request {
            let run = running.as_ref().ok_or_else(|| Error::not_found(format!("no run of policy {name} goes on here")))?;
            run.stop.by_operator();
            return id_of(&run.job);
        }
        if retiring || self.shutdown.is_cancelled() {
            return Err(Error::unavailable("the daemon is stopping, or the policy is being removed"));
        }
        if let Some(run) = running {
            return Err(Error::conflict(format!("run {} of policy {name} goes on", id_of(&run.job)?))
                .hint("wait for its end, or cancel it"));
        }
        let work = match request {
            Request::Backup { label, .. } => Work::Backup { label },
            Request::Verify { level, .. } => Work::Verify { level },
            Request::Prune { .. } | Request::Cancel { .. } => Work::Prune,
        };
        let job = self.keeper.job(work, Trigger::Api, None);
        let id = id_of(&job)?;
        *running = Some(self.start(job));
        Ok(id)
    }
}

fn id_of(job: &Job) -> Result<RunId> {
    job.order.id.clone().ok_or_else(|| Error::internal("a run without an id"))
}

/// The end of the run that goes on; never, when none does.
async fn end_of(running: &mut Option<Running>) -> Option<(Job, Ended)> {
    let Some(run) = running.as_mut() else { return std::future::pending().await };
    let ended = (&mut run.task)
        .await
        .unwrap_or_else(|e| Ended { outcome: Err(Error::internal("a run ended in a panic").source(e)), recorded: false });
    running.take().map(|run| (run.job, ended))
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::base::Kind;
    use crate::daemon::state::PolicyState;

    async fn until(state: &State, queue: &[&str]) {
        while state.with(|s| s.queue != queue) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn runs_wait_for_their_turn_in_the_order_of_asking() {
        let state = State::new("host", "2026-11-22T02:15:00Z".parse().expect("time"), 1);
        state.with(|s| s.policies.extend(["a", "b", "c"].map(|name| (name.to_owned(), PolicyState::default()))));
        let gate = Gate::new(1, state.clone());
        let pass = |name: &'static str| {
            let (gate, stop, (end, ended)) = (gate.clone(), Shutdown::new(), oneshot::channel::<()>());
            let its_stop = stop.clone();
            let task = tokio::spawn(async move { gate.pass(name, &its_stop, ended).await.map(|_| name) });
            (task, stop, end)
        };
        let (a, _, end_a) = pass("a");
        tokio::task::yield_now().await;
        let (b, stop_b, _end_b) = pass("b");
        until(&state, &["b"]).await;
        let (c, _, end_c) = pass("c");
        until(&state, &["b", "c"]).await;
        let places = ["a", "b", "c"].map(|name| state.policy(name).expect("there").queued);
        assert_eq!(places, [None, Some(1), Some(2)]);
        stop_b.cancel();
        assert_eq!(b.await.expect("join").expect_err("it waits no more").kind(), Kind::Cancelled);
        until(&state, &["c"]).await;
        assert_eq!(state.policy("c").expect("there").queued, Some(1));
        end_a.send(()).expect("it runs");
        assert_eq!(a.await.expect("join").expect("it had its turn"), "a");
        until(&state, &[]).await;
        end_c.send(()).expect("it runs");
        assert_eq!(c.await.expect("join").expect("it had its turn"), "c");
    }
}
