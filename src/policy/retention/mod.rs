//! Which backups stay, and why: a pure function of the backups, the rules, the zone and the time.
//!
//! Backups are ordered by the commit time that their heads record, never by names or a store's dates. A rule such as
//! `keep_daily = 7` keeps the newest backup of each of the last seven days that have one; days are those of the consistency
//! point in the policy's zone. Incomplete backups, and anomalous ones that nobody acknowledged, are not counted by any rule: a
//! broken backup must not push a good one out.
//!
//! Whatever the rules say, the newest proven backup and the two newest complete ones stay.

mod guard;
#[cfg(test)]
mod model_checker;
mod reason;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::base::ids::BackupId;
use crate::base::{clock, limits};

pub use guard::{LastRun, Refusal, may_mark, may_sweep};
pub use reason::{Period, Reason};

/// Complete backups that always stay.
pub const COMPLETE_FLOOR: usize = 2;

/// What `prune` keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The newest this many.
    pub last: u32,
    /// All whose consistency point is within this time before the newest one.
    pub within: Option<Duration>,
    /// Hours with a backup.
    pub hourly: u32,
    /// Days with a backup.
    pub daily: u32,
    /// ISO weeks with a backup.
    pub weekly: u32,
    /// Months with a backup.
    pub monthly: u32,
    /// Years with a backup.
    pub yearly: u32,
    /// Time between tombstone and sweep.
    pub grace: Duration,
}

impl Default for Rules {
    /// Keeps nothing but the floor.
    fn default() -> Self {
        Self { last: 0, within: None, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, grace: limits::GRACE }
    }
}

/// What retention knows of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// Its id.
    pub id: BackupId,
    /// The instant that a restore brings back.
    pub consistent_at: Timestamp,
    /// When its head was written, as the head says.
    pub committed_at: Timestamp,
    /// Everything it needs is there; a set of snapshots still being made is not complete.
    pub complete: bool,
    /// It looks wrong (empty, suspiciously small) and nobody acknowledged that it is right.
    pub anomalous: bool,
    /// A verification that read its data succeeded.
    pub proven: bool,
    /// Why it is pinned, if it is.
    pub pinned: Option<String>,
    /// `--keep-for`: it stays until then.
    pub keep_until: Option<Timestamp>,
}

impl BackupFacts {
    /// Whether rules count it: complete, and not suspicious.
    pub const fn counts(&self) -> bool {
        self.complete && !self.anomalous
    }
}

/// What happens to one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The backup.
    pub id: BackupId,
    /// When its head was written.
    pub committed_at: Timestamp,
    /// The instant that a restore brings back.
    pub consistent_at: Timestamp,
    /// Every reason to keep it; none: it goes.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Whether it stays.
    pub const fn keep(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// Its reasons, joined by commas; `no rule keeps it` when it goes.
    pub fn text(&self) -> String {
        if self.keep() {
            self.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        } else {
            "no rule keeps it".to_owned()
        }
    }
}

/// What happens to every backup, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Decision(Vec<Verdict>);

impl Decision {
    /// All of them, newest commit first.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.0
    }

    /// Those that go, oldest first: the order in which to delete.
    pub fn dropped(&self) -> impl Iterator<Item = &Verdict> {
        self.0.iter().rev().filter(|v| !v.keep())
    }

    /// Those that stay, newest first.
    pub fn kept(&self) -> impl Iterator<Item = &Verdict> {
        self.0.iter().filter(|v| v.keep())
    }

    /// Refuses a plan that removes more than half of the backups: it needs `--force-large`.
    pub fn check_size(&self) -> Result<(), Refusal> {
        let (dropped, total) = (self.dropped().count(), self.0.len());
        if dropped * 2 > total { Err(Refusal::TooLarge { dropped, total }) } else { Ok(()) }
    }
}

/// Decides about every backup of a vault. `rules`: `None` keeps everything.
pub fn decide(backups: &[BackupFacts], rules: Option<&Rules>, zone: &TimeZone, now: Timestamp) -> Decision {
    let mut sorted: Vec<&BackupFacts> = backups.iter().collect();
    sorted.sort_by(|a, b| (b.committed_at, &b.id).cmp(&(a.committed_at, &a.id)));
    let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); sorted.len()];
    match rules {
        None => reasons.iter_mut().for_each(|r| r.push(Reason::Everything)),
        Some(rules) => apply_rules(&sorted, rules, zone, now, &mut reasons),
    }
    apply_floor(&sorted, &mut reasons);
    apply_own(&sorted, now, &mut reasons);
    let verdicts = sorted.iter().zip(reasons).map(|(backup, reasons)| Verdict {
        id: backup.id.clone(),
        committed_at: backup.committed_at,
        consistent_at: backup.consistent_at,
        reasons,
    });
    Decision(verdicts.collect())
}

fn counted<'a>(sorted: &'a [&BackupFacts]) -> impl Iterator<Item = (usize, &'a BackupFacts)> {
    sorted.iter().enumerate().filter(|(_, b)| b.counts()).map(|(i, b)| (i, *b))
}

fn apply_rules(sorted: &[&BackupFacts], rules: &Rules, zone: &TimeZone, now: Timestamp, reasons: &mut [Vec<Reason>]) {
    for ((i, _), n) in counted(sorted).zip(1..=rules.last) {
        reasons[i].push(Reason::Last { n, of: rules.last });
    }
    if let (Some(within), Some(newest)) = (rules.within, counted(sorted).map(|(_, b)| b.consistent_at).max()) {
        // Counted from the newest backup, so that nothing runs out while no new one is made; and never from a time that has
        // not come, which a wrong clock may have recorded.
        let from = clock::sub(newest.min(now), within);
        for (i, _) in counted(sorted).filter(|(_, b)| b.consistent_at >= from) {
            reasons[i].push(Reason::Within { seconds: within.as_secs() });
        }
    }
    let calendars = [
        (Period::Hourly, rules.hourly),
        (Period::Daily, rules.daily),
        (Period::Weekly, rules.weekly),
        (Period::Monthly, rules.monthly),
        (Period::Yearly, rules.yearly),
    ];
    for (period, count) in calendars {
        let mut seen = BTreeSet::new();
        for (i, backup) in counted(sorted) {
            if seen.len() == count as usize {
                break;
            }
            let name = period.bucket(backup.consistent_at, zone);
            if seen.insert(name.clone()) {
                reasons[i].push(Reason::Calendar { period, name });
            }
        }
    }
}

/// R1: the newest proven backup and the newest complete ones stay.
fn apply_floor(sorted: &[&BackupFacts], reasons: &mut [Vec<Reason>]) {
    if let Some((i, _)) = counted(sorted).find(|(_, b)| b.proven) {
        reasons[i].push(Reason::NewestProven);
    }
    for ((i, _), n) in counted(sorted).take(COMPLETE_FLOOR).zip(1..) {
        reasons[i].push(Reason::NewestComplete { n });
    }
}

/// What a backup's own state keeps.
fn apply_own(sorted: &[&BackupFacts], now: Timestamp, reasons: &mut [Vec<Reason>]) {
    let newest_good = counted(sorted).next().map(|(i, _)| i);
    for (i, backup) in sorted.iter().enumerate() {
        if let Some(why) = &backup.pinned {
            reasons[i].push(Reason::Pinned { why: why.clone() });
        }
        if let Some(time) = backup.keep_until.filter(|t| *t > now) {
            reasons[i].push(Reason::KeepUntil { time });
        }
        if backup.anomalous {
            reasons[i].push(Reason::Anomalous);
        }
        if !backup.complete && newest_good.is_none_or(|good| i < good) {
            reasons[i].push(Reason::Unfinished);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("time")
    }

    fn paris() -> TimeZone {
        super::super::zone::find("Europe/Paris").expect("zone")
    }

    /// A proven backup whose consistency point is `time` and whose head was written ten minutes later.
    fn backup(time: Timestamp) -> BackupFacts {
        BackupFacts {
            id: format!("{}-0000", time.strftime("%Y%m%dT%H%M%SZ")).parse().expect("id"),
            consistent_at: time,
            committed_at: clock::add(time, Duration::from_secs(600)),
            complete: true,
            anomalous: false,
            proven: true,
            pinned: None,
            keep_until: None,
        }
    }

    /// `count` backups, one every `hours`, the newest at `newest`.
    fn every(hours: u64, count: u32, newest: &str) -> Vec<BackupFacts> {
        (0..count).map(|i| backup(clock::sub(at(newest), Duration::from_secs(u64::from(i) * hours * 3600)))).collect()
    }

    fn table(decision: &Decision) -> String {
        let dropped = decision.dropped().count();
        decision.kept().fold(format!("dropped {dropped} of {}\n", decision.verdicts().len()), |mut text, verdict| {
            let _ = writeln!(text, "{}  {}", verdict.id, verdict.text());
            text
        })
    }

    const NIGHTLY: Rules = Rules {
        last: 3,
        within: Some(Duration::from_secs(48 * 3600)),
        hourly: 0,
        daily: 7,
        weekly: 5,
        monthly: 12,
        yearly: 2,
        grace: limits::GRACE,
    };

    #[test]
    fn two_years_of_nights() {
        let backups = every(24, 800, "2026-11-22T01:15:00Z");
        insta::assert_snapshot!(table(&decide(&backups, Some(&NIGHTLY), &paris(), at("2026-11-22T12:00:00Z"))));
    }

    /// The two hours of the night when the clock is set back are two; days are those of the zone, not of UTC.
    #[test]
    fn hours_of_the_night_that_has_twenty_five() {
        let rules = Rules { hourly: 6, daily: 3, ..Rules::default() };
        let backups = every(1, 60, "2026-10-25T03:05:00Z");
        insta::assert_snapshot!(table(&decide(&backups, Some(&rules), &paris(), at("2026-10-25T03:30:00Z"))));
    }

    #[test]
    fn every_state_of_a_backup() {
        let mut backups = every(24, 9, "2026-11-22T01:15:00Z");
        backups[0].complete = false;
        backups[1].anomalous = true;
        backups[1].proven = false;
        for proven in &mut backups[2..5] {
            proven.proven = false;
        }
        backups[4].complete = false;
        backups[6].pinned = Some("before the migration".to_owned());
        backups[7].keep_until = Some(at("2026-12-01T00:00:00Z"));
        backups[8].keep_until = Some(at("2026-11-22T11:59:59Z"));
        let rules = Rules { last: 1, ..Rules::default() };
        insta::assert_snapshot!(table(&decide(&backups, Some(&rules), &paris(), at("2026-11-22T12:00:00Z"))));
    }

    /// Commit time decides what is newest; names and the order of the list do not.
    #[test]
    fn the_newest_is_the_one_committed_last() {
        let mut backups = every(24, 4, "2026-11-22T01:15:00Z");
        backups[3].committed_at = at("2026-11-23T00:00:00Z");
        backups.reverse();
        let decision = decide(&backups, Some(&Rules { last: 1, ..Rules::default() }), &paris(), at("2026-11-23T12:00:00Z"));
        let kept: Vec<&str> = decision.kept().map(|v| v.id.as_str()).collect();
        assert_eq!(kept, ["20261119T011500Z-0000", "20261122T011500Z-0000"]);
        assert_eq!(
            decision.dropped().map(|v| v.id.as_str()).collect::<Vec<_>>(),
            ["20261120T011500Z-0000", "20261121T011500Z-0000"]
        );
    }

    #[test]
    fn without_rules_everything_stays_and_large_plans_are_refused() {
        let backups = every(24, 6, "2026-11-22T01:15:00Z");
        let now = at("2026-11-22T12:00:00Z");
        assert_eq!(decide(&backups, None, &paris(), now).dropped().count(), 0);
        let half = decide(&backups, Some(&Rules { last: 3, ..Rules::default() }), &paris(), now);
        assert_eq!(half.check_size(), Ok(()));
        let most = decide(&backups, Some(&Rules { last: 2, ..Rules::default() }), &paris(), now);
        assert_eq!(most.check_size(), Err(Refusal::TooLarge { dropped: 4, total: 6 }));
        let error = crate::base::Error::from(Refusal::TooLarge { dropped: 4, total: 6 });
        assert!(error.hint_text().is_some_and(|h| h.contains("--force-large")));
    }
}
