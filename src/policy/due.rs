//! Which slot of a schedule is due: a pure function of the schedule, of what runs have done, and of the time.
//!
//! Nothing here remembers anything: the runs are those that the vault's records tell of, so a daemon that starts anew, another daemon on the same
//! vault and `policy explain` come to the same answer. A slot that has come and is not covered is due; of several, the latest one, and one run
//! covers them all. Clocks may be wrong: what lies in the future counts only when its time has come, so that a clock that ran ahead leaves no hole
//! behind, and one that is set back repeats nothing.

use std::time::Duration;

use jiff::Timestamp;

use super::model::PolicyName;
use super::schedule::Schedule;
use crate::base::clock;

/// Pause after the first failed try of a slot; each further one is [`RETRY_FACTOR`] times longer.
const RETRY_FIRST: Duration = Duration::from_secs(60);
const RETRY_FACTOR: u32 = 3;
const RETRY_LONGEST: Duration = Duration::from_secs(30 * 60);
/// Pause after the second interrupted run of a slot; the first is begun again at once, each further pause is twice as long.
const INTERRUPTED_FIRST: Duration = Duration::from_secs(30);
const INTERRUPTED_LONGEST: Duration = Duration::from_secs(15 * 60);
/// Missed slots that are counted; more are this many.
const MISSED_MOST: usize = 10_000;

/// What one run did for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The slot that it was for.
    pub slot: Timestamp,
    /// When it ended; of one that goes on, when it started.
    pub ended_at: Timestamp,
    /// How.
    pub outcome: Outcome,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its slot is covered, and all before it.
    Covered,
    /// It failed; `retryable`: trying again may help.
    Failed {
        /// Whether trying again may help.
        retryable: bool,
    },
    /// It was stopped with its daemon, killed, or lost its lease. Says nothing about the next one.
    Interrupted,
    /// Somebody cancelled it, and does not want it.
    Abandoned,
    /// It goes on.
    Running,
}

/// Where a schedule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The last slot that a run covered.
    pub covered_until: Option<Timestamp>,
    /// The slot that has come and is not covered.
    pub due: Option<Due>,
    /// The first slot to come.
    pub next: Option<Timestamp>,
}

/// A slot that has come and is not covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The slot.
    pub slot: Timestamp,
    /// Slots before it that no run covered.
    pub missed: u64,
    /// Runs for it that failed.
    pub failed: u32,
    /// Runs for it that were interrupted.
    pub interrupted: u32,
    /// What is to be done about it.
    pub action: Action,
}

/// What is to be done about a slot that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A run may start at this time, which may lie in the past.
    StartAt(Timestamp),
    /// A run goes on.
    Wait,
    /// Nothing before the next slot; why.
    GiveUp(String),
}

impl Due {
    /// When the next run for it starts, if one does.
    pub fn starts_at(&self) -> Option<Timestamp> {
        if let Action::StartAt(at) = self.action { Some(at) } else { None }
    }
}

/// Where `schedule` stands at `now`. Slots count from `since` on, when the vault was made; `attempts` in any order.
pub fn standing(policy: &PolicyName, schedule: &Schedule, since: Timestamp, attempts: &[Attempt], now: Timestamp) -> Standing {
    let covered = attempts.iter().filter(|a| a.outcome == Outcome::Covered && a.slot <= now).map(|a| a.slot);
    let covered_until = covered.max();
    // A vault from the future was made by a clock that was wrong: it says nothing about when slots begin to count.
    let after = covered_until.max(Some(since).filter(|s| *s <= now));
    let slot = schedule.latest_at(now).filter(|slot| after.is_none_or(|after| *slot > after));
    let due = slot.map(|slot| {
        let own: Vec<&Attempt> = attempts.iter().filter(|a| a.slot == slot).collect();
        let count = |wanted: fn(Outcome) -> bool| own.iter().filter(|a| wanted(a.outcome)).count() as u32;
        Due {
            slot,
            missed: after.map_or(0, |after| missed(schedule, after, slot)),
            failed: count(|o| matches!(o, Outcome::Failed { .. })),
            interrupted: count(|o| o == Outcome::Interrupted),
            action: action(policy, schedule, slot, &own, now),
        }
    });
    Standing { covered_until, due, next: schedule.next_after(now) }
}

/// The slots between `from` and `until` that no run was for, in order; at most the last `most` of them.
pub fn uncovered(schedule: &Schedule, attempts: &[Attempt], from: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
    let mut back =
        std::iter::successors(schedule.latest_at(until), |s| schedule.latest_at(clock::sub(*s, Duration::from_micros(1))));
    let covers = |slot: Timestamp| {
        let next = schedule.next_after(slot);
        // A run by hand covers the slot before it.
        let good = attempts.iter().filter(|a| a.outcome == Outcome::Covered);
        good.into_iter().any(|a| a.slot >= slot && next.is_none_or(|next| a.slot < next))
    };
    let mut found: Vec<Timestamp> =
        back.by_ref().take_while(|s| *s > from).take(MISSED_MOST).filter(|s| !covers(*s)).take(most).collect();
    found.reverse();
    found
}

fn missed(schedule: &Schedule, after: Timestamp, slot: Timestamp) -> u64 {
    schedule.cron.slots_after(after, &schedule.zone).take_while(|s| *s < slot).take(MISSED_MOST).count() as u64
}

fn action(policy: &PolicyName, schedule: &Schedule, slot: Timestamp, own: &[&Attempt], now: Timestamp) -> Action {
    if own.iter().any(|a| a.outcome == Outcome::Running) {
        return Action::Wait;
    }
    if own.iter().any(|a| a.outcome == Outcome::Abandoned) {
        return Action::GiveUp("its run was cancelled".to_owned());
    }
    let failed = own.iter().filter(|a| matches!(a.outcome, Outcome::Failed { .. })).count() as u32;
    if own.iter().any(|a| a.outcome == Outcome::Failed { retryable: false }) {
        return Action::GiveUp("it failed for a reason that trying again does not help".to_owned());
    }
    if failed > schedule.retries {
        return Action::GiveUp(format!("it failed {failed} times"));
    }
    let mut at = schedule.start_of(policy, slot);
    // An attempt that ended in the future was timed by a clock that was wrong; it must not hold the next one up.
    if let Some(last) = own.iter().filter(|a| a.ended_at <= now).max_by_key(|a| a.ended_at) {
        let interrupted = own.len() as u32 - failed;
        let pause = if last.outcome == Outcome::Interrupted { after_interruption(interrupted) } else { after_failure(failed) };
        at = at.max(clock::add(last.ended_at, pause));
    }
    // What is overdue waits for the end of a window that began meanwhile.
    let free = schedule.outside_blackout(at.max(now));
    Action::StartAt(if free > now { free } else { at })
}

/// Pause after the `n`th failure.
fn after_failure(n: u32) -> Duration {
    RETRY_FIRST.saturating_mul(RETRY_FACTOR.saturating_pow(n.saturating_sub(1))).min(RETRY_LONGEST)
}

/// Pause after the `n`th interruption: a run that dies each time must not be begun in a hot loop.
fn after_interruption(n: u32) -> Duration {
    if n <= 1 {
        return Duration::ZERO;
    }
    INTERRUPTED_FIRST.saturating_mul(2_u32.saturating_pow(n - 2)).min(INTERRUPTED_LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::schedule::{Blackout, Cron};
    use crate::policy::zone;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("time")
    }

    fn nightly(retries: u32) -> Schedule {
        Schedule {
            cron: Cron::parse("15 2 * * *").expect("cron"),
            zone: zone::find("UTC").expect("zone"),
            jitter: Duration::ZERO,
            retries,
            blackout: Vec::new(),
            deadline: Duration::from_secs(3600),
        }
    }

    fn attempt(slot: &str, ended_at: &str, outcome: Outcome) -> Attempt {
        Attempt { slot: at(slot), ended_at: at(ended_at), outcome }
    }

    fn look(schedule: &Schedule, attempts: &[Attempt], now: &str) -> Standing {
        standing(&"p".parse().expect("name"), schedule, at("2026-11-20T12:00:00Z"), attempts, at(now))
    }

    const SLOT: &str = "2026-11-22T02:15:00Z";
    const RETRY: Outcome = Outcome::Failed { retryable: true };

    #[test]
    fn one_catch_up_run_covers_what_was_missed() {
        let schedule = nightly(3);
        assert_eq!(look(&schedule, &[], "2026-11-20T13:00:00Z").due, None, "no slot since the vault was made");
        let due = look(&schedule, &[], "2026-11-24T10:00:00Z").due.expect("due");
        assert_eq!((due.slot, due.missed), (at("2026-11-24T02:15:00Z"), 3));
        assert_eq!(due.action, Action::StartAt(due.slot), "at once");
        let done = [attempt("2026-11-24T02:15:00Z", "2026-11-24T10:05:00Z", Outcome::Covered)];
        let standing = look(&schedule, &done, "2026-11-24T10:05:00Z");
        assert_eq!((standing.due, standing.next), (None, Some(at("2026-11-25T02:15:00Z"))));
    }

    #[test]
    fn failures_are_tried_again_with_growing_pauses_and_given_up() {
        let schedule = nightly(2);
        let first = attempt(SLOT, "2026-11-22T02:16:00Z", RETRY);
        let second = attempt(SLOT, "2026-11-22T02:18:00Z", RETRY);
        let third = attempt(SLOT, "2026-11-22T02:30:00Z", RETRY);
        let start = |attempts: &[Attempt]| look(&schedule, attempts, "2026-11-22T02:16:30Z").due.expect("due").action;
        assert_eq!(start(std::slice::from_ref(&first)), Action::StartAt(at("2026-11-22T02:17:00Z")));
        let later = |attempts: &[Attempt]| look(&schedule, attempts, "2026-11-22T02:30:00Z").due.expect("due").action;
        assert_eq!(later(&[first.clone(), second.clone()]), Action::StartAt(at("2026-11-22T02:21:00Z")));
        assert!(matches!(later(&[first.clone(), second, third]), Action::GiveUp(why) if why.contains("3 times")));
        let hopeless = attempt(SLOT, "2026-11-22T02:16:00Z", Outcome::Failed { retryable: false });
        assert!(matches!(later(&[hopeless]), Action::GiveUp(_)));
        assert!(matches!(later(&[attempt(SLOT, "2026-11-22T02:16:00Z", Outcome::Abandoned)]), Action::GiveUp(_)));
        let next = look(&schedule, &[first], "2026-11-23T02:15:00Z").due.expect("due");
        assert_eq!((next.failed, next.missed), (0, 2), "the next slot begins anew");
    }

    #[test]
    fn interruptions_cost_no_try_and_do_not_loop() {
        let schedule = nightly(0);
        let killed = |n: usize| vec![attempt(SLOT, "2026-11-22T02:20:00Z", Outcome::Interrupted); n];
        let start = |n| look(&schedule, &killed(n), "2026-11-22T02:20:00Z").due.expect("due").starts_at();
        assert_eq!(start(1), Some(at("2026-11-22T02:20:00Z")));
        assert_eq!(start(2), Some(at("2026-11-22T02:20:30Z")));
        assert_eq!(start(4), Some(at("2026-11-22T02:22:00Z")));
        assert_eq!(start(40), Some(at("2026-11-22T02:35:00Z")));
        let mut running = killed(1);
        running.push(attempt(SLOT, "2026-11-22T02:21:00Z", Outcome::Running));
        assert_eq!(look(&schedule, &running, "2026-11-22T02:22:00Z").due.expect("due").action, Action::Wait);
    }

    #[test]
    fn the_future_counts_when_it_has_come() {
        let schedule = nightly(3);
        let ahead = [
            attempt(SLOT, "2026-11-22T02:16:00Z", Outcome::Covered),
            attempt("2026-11-25T02:15:00Z", "2026-11-25T09:00:00Z", Outcome::Covered),
        ];
        assert_eq!(look(&schedule, &ahead, "2026-11-22T12:00:00Z").due, None);
        let due = look(&schedule, &ahead, "2026-11-23T03:00:00Z").due.expect("no hole behind a clock that ran ahead");
        assert_eq!((due.slot, due.missed), (at("2026-11-23T02:15:00Z"), 0));
        assert_eq!(look(&schedule, &ahead, "2026-11-25T03:00:00Z").due, None, "and nothing twice");
        let timed_ahead = [attempt(SLOT, "2026-11-22T09:00:00Z", RETRY)];
        let due = look(&schedule, &timed_ahead, "2026-11-22T03:00:00Z").due.expect("due");
        assert_eq!(due.starts_at(), Some(due.slot));
        let made_ahead = standing(&"p".parse().expect("name"), &schedule, at("2027-01-01T00:00:00Z"), &[], at(SLOT));
        assert_eq!(made_ahead.due.expect("due").slot, at(SLOT));
    }

    #[test]
    fn what_is_overdue_waits_for_the_end_of_a_blackout() {
        let mut schedule = nightly(3);
        let time = |text: &str| text.parse().expect("time of day");
        schedule.blackout = vec![Blackout { from: time("09:00"), to: time("11:00"), days: Vec::new() }];
        let start = |now| look(&schedule, &[], now).due.expect("due").starts_at().expect("starts").to_string();
        assert_eq!(start("2026-11-22T08:59:00Z"), SLOT);
        assert_eq!(start("2026-11-22T09:30:00Z"), "2026-11-22T11:00:00Z");
    }

    #[test]
    fn slots_that_no_run_was_for_are_named() {
        let schedule = nightly(3);
        let done = [
            attempt("2026-11-21T02:15:00Z", "2026-11-21T02:16:00Z", Outcome::Covered),
            attempt("2026-11-23T09:00:00Z", "2026-11-23T09:00:00Z", Outcome::Covered),
        ];
        let missed = uncovered(&schedule, &done, at("2026-11-20T12:00:00Z"), at("2026-11-24T12:00:00Z"), 5);
        assert_eq!(missed, [at(SLOT), at("2026-11-24T02:15:00Z")]);
    }
}
