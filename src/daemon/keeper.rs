//! One policy: reads from its vault where its schedules stand, says what is to be run, and keeps the state's picture of it.
//!
//! A keeper holds nothing that a restart would lose. It reads the vault when something may have come due, after each run, when its clock jumped, and
//! every few minutes because another daemon or a command may have done something; in between a look costs no request.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::notify::{Event, Notifier, Outcome, RunEnd};
use super::runner::{Ended, Job, Work};
use super::state::{PolicyState, SlotState, State};
use crate::base::clock::{self, elapsed};
use crate::base::ids::RunId;
use crate::base::{Error, Kind, Result};
use crate::jobs::Context;
use crate::jobs::due::{self, History, NotDue};
use crate::jobs::health::{self, PolicyStatus};
use crate::jobs::run::Order;
use crate::policy::Policy;
use crate::policy::due::{Action, Due, Standing};
use crate::repo::Vault;
use crate::repo::lease::{self, Holder};
use crate::repo::runs::{Known, Run, RunKind, RunState, Trigger};

/// Longest time between two looks: a timer that was lost, or a clock that jumped, loses no more.
pub const TICK: Duration = Duration::from_secs(30);
/// Longest time between two readings of the vault.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// Shortest time between two readings.
const SOONEST: Duration = Duration::from_millis(500);
/// Longest that one reading may take, whatever the store does.
const READING: Duration = Duration::from_secs(120);
/// How soon a lease that somebody else holds is looked at again.
const LEASE_LOOK: Duration = Duration::from_secs(15);
/// Pause after something failed of which the vault has no record; doubled each time.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
const PAUSE_LONGEST: Duration = Duration::from_secs(5 * 60);
/// Readings that fail in a row before somebody is told: a store may blink.
const FAILURES_TOLD: u32 = 4;

/// What a look at a policy came to.
#[derive(Debug)]
pub struct Look {
    /// A run to start now.
    pub start: Option<Job>,
    /// When to look again, if nothing happens before.
    pub again_in: Duration,
}

/// Keeps one policy.
#[derive(Debug)]
pub struct Keeper {
    policy: Arc<Policy>,
    cx: Context,
    state: State,
    notifier: Arc<Notifier>,
    vault: Option<Vault>,
    known: Known,
    tick: Duration,
    refresh: Duration,
    /// When the vault was last read, and when it has to be read again.
    read: Option<(Timestamp, Timestamp)>,
    /// Nothing is tried before this time has passed since that one.
    pause: Option<(Timestamp, Duration)>,
    failures: u32,
    /// Generation of the lease that is waited for, and since when: until it changes only the lease is looked at.
    behind: Option<(u64, Timestamp)>,
    /// A run that follows one that ended.
    then: Option<Job>,
}

impl Keeper {
    /// For `policy`, which appears in `state` from now on.
    pub fn new(policy: Arc<Policy>, cx: &Context, state: &State, notifier: Arc<Notifier>) -> Self {
        let this = Self {
            policy,
            cx: cx.clone(),
            state: state.clone(),
            notifier,
            vault: None,
            known: Known::default(),
            tick: TICK,
            refresh: REFRESH,
            read: None,
            pause: None,
            failures: 0,
            behind: None,
            then: None,
        };
        this.appear();
        this
    }

    /// With its vault at hand, looking around more seldom than usual: a year has a million half minutes.
    #[cfg(test)]
    pub(super) fn opened(mut self, vault: Vault) -> Self {
        (self.vault, self.tick, self.refresh) = (Some(vault), Duration::from_secs(300), Duration::from_secs(6 * 3600));
        self
    }

    /// The policy in force.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Goes on with another version of the policy.
    pub fn replace(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
        (self.vault, self.read, self.pause, self.failures, self.then) = (None, None, None, 0, None);
        (self.known, self.behind) = (Known::default(), None);
        self.appear();
    }

    fn name(&self) -> &str {
        self.policy.name.as_str()
    }

    fn appear(&self) {
        self.state.with(|state| {
            let shown = state.policies.entry(self.name().to_owned()).or_default();
            shown.description.clone_from(&self.policy.description);
            shown.max_age_seconds = self.policy.max_age.map(|d| d.as_secs());
            shown.error = None;
        });
    }

    /// Looks, and says what is to be done. `busy`: a run of this policy goes on or waits, so that nothing is started.
    pub async fn look(&mut self, busy: bool) -> Look {
        let now = self.cx.clock.now();
        if let Some(left) = self.paused(now) {
            return Look { start: None, again_in: left.min(self.tick) };
        }
        if let Some((last, next)) = self.read
            && last <= now
            && now < next
            && self.then.is_none()
        {
            self.notifier.retry_due(&self.policy, self.vault.as_ref()).await;
            self.show_notifications();
            return Look { start: None, again_in: elapsed(now, next).min(self.tick) };
        }
        let reading = tokio::time::timeout(READING, self.read(now, busy));
        match reading.await.unwrap_or_else(|_| Err(Error::unavailable("the store did not answer in time"))) {
            Ok(look) => {
                if self.failures > 0 {
                    tracing::info!(policy = self.name(), "the vault can be read again");
                }
                self.failures = 0;
                look
            }
            Err(error) => self.unreadable(&error).await,
        }
    }

    /// A run of this policy ended.
    pub fn ended(&mut self, job: &Job, ended: &Ended) {
        self.read = None;
        self.state.with_policy(self.name(), |p| {
            p.current = None;
            p.queued = None;
        });
        // A run that found no room is followed by a prune like a good one: that takes what is due, and the next run has room.
        let pruned_after = ended.outcome.as_ref().err().is_none_or(Error::is_over_quota);
        if pruned_after && job.order.slot.is_some() && job.work.kind() == RunKind::Backup && self.policy.retention.is_some() {
            self.then = Some(self.job(Work::Prune, Trigger::Schedule, None));
        }
        match &ended.outcome {
            Ok(()) => self.failures = 0,
            Err(_) if ended.recorded => {}
            Err(error) => {
                // The vault does not know that it was tried, so nothing in it holds the next try up.
                let ours = !NotDue::marks(error) && error.kind() != Kind::Conflict;
                if ours {
                    tracing::error!(policy = self.name(), kind = job.work.kind().name(), %error, "a run could not begin");
                } else {
                    tracing::info!(policy = self.name(), kind = job.work.kind().name(), "not started: {error}");
                }
                if job.work.kind() == RunKind::Prune {
                    return;
                }
                self.failures += u32::from(ours);
                self.pause = Some((self.cx.clock.now(), pause(self.failures)));
            }
        }
    }

    /// A run that somebody asked for.
    pub fn job(&self, work: Work, trigger: Trigger, slot: Option<Timestamp>) -> Job {
        let id = RunId::generate(self.cx.clock.now());
        Job { policy: self.policy.clone(), work, order: Order { id: Some(id), trigger: Some(trigger), slot } }
    }

    fn paused(&self, now: Timestamp) -> Option<Duration> {
        let (since, pause) = self.pause?;
        let end = clock::add(since, pause);
        (since <= now && now < end).then(|| elapsed(now, end))
    }

    async fn unreadable(&mut self, error: &Error) -> Look {
        self.failures += 1;
        // The address or the credentials may be what is wrong: they are looked up anew.
        (self.vault, self.read) = (None, None);
        let pause = pause(self.failures);
        tracing::warn!(policy = self.name(), %error, again_in = ?pause, "the vault cannot be read");
        self.state.with_policy(self.name(), |p| p.error = Some(error.full_message()));
        if self.failures == FAILURES_TOLD {
            let end = RunEnd { kind: RunKind::Backup, run: None, backup: None, outcome: Outcome::Failed(error), tail: None };
            if let Some(event) = Event::of_run(&end) {
                self.notifier.tell(&self.policy, None, &event).await;
            }
        }
        self.pause = Some((self.cx.clock.now(), pause));
        Look { start: None, again_in: pause.min(self.tick) }
    }

    async fn open(&mut self) -> Result<Vault> {
        if let Some(vault) = &self.vault {
            return Ok(vault.clone());
        }
        let cx = Context { in_force: Some(self.policy.clone()), ..self.cx.clone() };
        let place = cx.place(self.name()).await?;
        let text = self.policy.text_without_secrets();
        let vault = Vault::open_or_create(place.store, self.name(), text, self.cx.clock.clone()).await?;
        Ok(self.vault.insert(vault).clone())
    }

    async fn read(&mut self, now: Timestamp, busy: bool) -> Result<Look> {
        let vault = self.open().await?;
        if let Some((generation, _)) = self.behind.filter(|(_, since)| *since <= now && elapsed(*since, now) < self.refresh)
            && let Some(holder) = lease::holder(&vault).await?.filter(|h| h.generation == generation)
        {
            return Ok(behind(&holder, now));
        }
        self.behind = None;
        let mut history = History::read_unless(&vault, &self.policy, &mut self.known).await?;
        let holder = lease::holder(&vault).await?;
        if holder.is_none() && !busy && history.has_stale() {
            match due::settle(&self.cx, &vault).await {
                Ok(()) => history = History::read_unless(&vault, &self.policy, &mut self.known).await?,
                // Somebody else was faster, and does the same.
                Err(error) => tracing::info!(policy = self.name(), "runs that were killed are left to others: {error}"),
            }
        }
        let status = health::judge(self.name(), Some(&self.policy), Some(&vault), now).await?;
        let standings = [RunKind::Backup, RunKind::Verify].map(|kind| (kind, history.standing(&vault, &self.policy, kind)));
        self.show(&history, holder.as_ref(), &status, &standings, now);
        self.tell_age(&vault, &status).await;
        self.notifier.retry_due(&self.policy, Some(&vault)).await;
        self.show_notifications();
        let next = self.next_reading(&status, &standings, now);
        self.read = Some((now, next));
        let idle = Look { start: None, again_in: elapsed(now, next).min(self.tick) };
        if busy {
            return Ok(idle);
        }
        let wanted = self.wanted(&standings, &status, now);
        let Some(job) = wanted else { return Ok(idle) };
        if let Some(holder) = holder {
            (self.read, self.behind) = (None, Some((holder.generation, now)));
            return Ok(behind(&holder, now));
        }
        self.then = None;
        Ok(Look { start: Some(job), again_in: self.tick })
    }

    /// What is to be run now, if nobody else runs.
    fn wanted(&self, standings: &[(RunKind, Option<Standing>)], status: &PolicyStatus, now: Timestamp) -> Option<Job> {
        if let Some(job) = &self.then {
            return Some(job.clone());
        }
        standings.iter().find_map(|(kind, standing)| {
            let due = standing.as_ref()?.due.as_ref()?;
            due.starts_at().filter(|at| *at <= now)?;
            let work = match kind {
                RunKind::Backup => Work::Backup { label: None },
                // Nothing can be verified before there is a backup.
                RunKind::Verify if status.backups == 0 => return None,
                _ => Work::Verify { level: None },
            };
            Some(self.job(work, Trigger::Schedule, Some(due.slot)))
        })
    }

    /// When the vault has to be read again: something comes due, or the promise breaks, or it is time for a look.
    fn next_reading(&self, status: &PolicyStatus, standings: &[(RunKind, Option<Standing>)], now: Timestamp) -> Timestamp {
        let breaks = self.policy.max_age.zip(status.consistent_at).map(|(max, at)| clock::add(clock::add(at, max), TICK));
        let coming = standings
            .iter()
            .filter_map(|(_, standing)| standing.as_ref())
            .flat_map(|standing| [standing.next, standing.due.as_ref().and_then(Due::starts_at)]);
        let next = coming.flatten().chain(breaks).filter(|at| *at > now).min();
        next.unwrap_or(Timestamp::MAX).clamp(clock::add(now, SOONEST), clock::add(now, self.refresh))
    }

    async fn tell_age(&self, vault: &Vault, status: &PolicyStatus) {
        let Some(max) = self.policy.max_age else { return };
        let age = status.age_seconds.map(Duration::from_secs);
        let event = match age {
            Some(age) if age <= max => Event::fresh(),
            // A vault that was just made breaks no promise yet.
            None if elapsed(vault.info().created_at, self.cx.clock.now()) <= max => return,
            age => Event::stale(age, max),
        };
        self.notifier.tell(&self.policy, Some(vault), &event).await;
    }

    fn show(
        &self,
        history: &History,
        holder: Option<&Holder>,
        status: &PolicyStatus,
        standings: &[(RunKind, Option<Standing>)],
        now: Timestamp,
    ) {
        self.state.with_policy(self.name(), |p| {
            p.error = None;
            p.lease = holder.cloned();
            p.status = Some(status.clone());
            p.checked_at = Some(now);
            for (kind, standing) in standings {
                let shown = standing.as_ref().map(slot_state);
                match kind {
                    RunKind::Backup => p.backup = shown,
                    _ => p.verify = shown,
                }
            }
            show_runs(p, history.runs());
        });
    }

    fn show_notifications(&self) {
        let counts = self.notifier.counts();
        let own = || counts.iter().filter(|c| c.policy == self.name());
        let (pending, failed) = (own().map(|c| c.pending).sum(), own().map(|c| c.given_up).sum());
        self.state.with_policy(self.name(), |p| {
            p.notifications_pending = pending;
            p.notifications_failed = failed;
        });
    }
}

/// Whoever holds the lease covers the slot, or dies: then the lease expires.
fn behind(holder: &Holder, now: Timestamp) -> Look {
    Look { start: None, again_in: LEASE_LOOK.min(elapsed(now, holder.expires_at) + Duration::from_secs(1)) }
}

fn slot_state(standing: &Standing) -> SlotState {
    let due = standing.due.as_ref();
    SlotState {
        covered_until: standing.covered_until,
        due: due.map(|d| d.slot),
        starts_at: due.and_then(Due::starts_at),
        failed_attempts: due.map_or(0, |d| d.failed),
        given_up: due.and_then(|d| if let Action::GiveUp(why) = &d.action { Some(why.clone()) } else { None }),
        missed: due.map_or(0, |d| d.missed),
        next: standing.next,
    }
}

fn show_runs(shown: &mut PolicyState, newest_first: &[Run]) {
    for kind in [RunKind::Backup, RunKind::Verify, RunKind::Prune, RunKind::Restore] {
        let ended = newest_first.iter().find(|r| r.kind == kind && r.state != RunState::Running);
        shown.last.extend(ended.map(|run| (kind, run.clone())));
    }
    let good = newest_first.iter().find(|r| r.kind == RunKind::Backup && r.state == RunState::Succeeded);
    if let Some(run) = good {
        shown.last_success = Some(run.clone());
    }
}

/// Pause after `n` failures in a row.
fn pause(n: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(n.saturating_sub(1).min(16))).min(PAUSE_LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::base::shutdown::Shutdown;
    use crate::daemon::simulation;
    use crate::store::memory::MemoryStore;

    const RETENTION: &str = "[retention]\nkeep_last = 3\n";

    /// What follows a scheduled run that ended like this.
    async fn follows(more: &str, outcome: Result<()>) -> Option<RunKind> {
        let policy = simulation::policy("p", more);
        let cx = Context::of_test(Arc::new(SystemClock), Shutdown::new());
        let vault = Vault::open_or_create(Arc::new(MemoryStore::new()), "p", "", cx.clock.clone()).await.expect("vault");
        let notifier = Notifier::new(cx.clock.clone(), cx.env.clone());
        let state = State::new("host", cx.clock.now(), 1);
        let mut keeper = Keeper::new(policy, &cx, &state, notifier).opened(vault);
        let job = keeper.job(Work::Backup { label: None }, Trigger::Schedule, Some(cx.clock.now()));
        keeper.ended(&job, &Ended { outcome, recorded: true });
        keeper.look(false).await.start.map(|job| job.work.kind())
    }

    #[tokio::test]
    async fn a_good_run_and_one_that_found_no_room_are_followed_by_a_prune() {
        assert_eq!(follows(RETENTION, Ok(())).await, Some(RunKind::Prune));
        assert_eq!(follows("", Ok(())).await, None, "everything is kept");
        assert_eq!(follows(RETENTION, Err(Error::denied("no room").over_quota())).await, Some(RunKind::Prune));
        assert_eq!(follows(RETENTION, Err(Error::denied("no permission"))).await, None);
    }
}
