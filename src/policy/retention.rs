//! Which backups stay, and why: a pure function of the backups, the rules, the zone and the time.
//!
//! Backups are ordered by the commit time that their heads record, never by names or a store's dates. A rule such as
//! `keep_daily = 7` keeps the newest backup of each of the last seven days that have one; days are those of the consistency
//! point in the policy's zone. Incomplete backups, and anomalous ones that nobody acknowledged, are not counted by any rule: a
//! broken backup must not push a good one out.
//!
//! Whatever the rules say, the newest proven backup and the two newest complete ones stay.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::base::ids::{BackupId, RunId};
use crate::base::units::format_duration;
use crate::base::{Error, clock, limits};

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

/// Why a backup stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Reason {
    /// The policy has no retention section.
    Everything,
    /// Number `n` of the newest `of`.
    Last {
        /// From 1, the newest.
        n: u32,
        /// The rule's number.
        of: u32,
    },
    /// Its consistency point is within this time before the newest.
    Within {
        /// The rule's time, in seconds.
        seconds: u64,
    },
    /// The newest of its hour, day, week, month or year.
    Calendar {
        /// Which calendar.
        period: Period,
        /// The hour, day, week, month or year, in the policy's zone.
        name: String,
    },
    /// The newest proven one.
    NewestProven,
    /// Number `n` of the newest complete ones that always stay.
    NewestComplete {
        /// From 1, the newest.
        n: u32,
    },
    /// Somebody pinned it.
    Pinned {
        /// Why.
        why: String,
    },
    /// It was made with `--keep-for`.
    KeepUntil {
        /// Until then.
        time: Timestamp,
    },
    /// It looks wrong and waits for somebody to look at it.
    Anomalous,
    /// It is not complete yet, and newer than the newest complete one.
    Unfinished,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("no retention rules"),
            Self::Last { n, of } => write!(f, "last {n} of {of}"),
            Self::Within { seconds } => write!(f, "within {} of the newest", format_duration(Duration::from_secs(*seconds))),
            Self::Calendar { period, name } => write!(f, "{} {name}", period.as_str()),
            Self::NewestProven => f.write_str("newest proven"),
            Self::NewestComplete { n: 1 } => f.write_str("newest complete"),
            Self::NewestComplete { n } => write!(f, "newest complete, number {n}"),
            Self::Pinned { why } if why.is_empty() => f.write_str("pinned"),
            Self::Pinned { why } => write!(f, "pinned: {why}"),
            Self::KeepUntil { time } => write!(f, "keep until {}", time.strftime("%Y-%m-%dT%H:%M:%SZ")),
            Self::Anomalous => f.write_str("anomalous, not acknowledged"),
            Self::Unfinished => f.write_str("not complete yet"),
        }
    }
}

/// A calendar by which backups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Hours; the two of a clock set back are two.
    Hourly,
    /// Days.
    Daily,
    /// ISO weeks.
    Weekly,
    /// Months.
    Monthly,
    /// Years.
    Yearly,
}

impl Period {
    /// `daily` and the like.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The name of the bucket that `time` falls into.
    fn bucket(self, time: Timestamp, zone: &TimeZone) -> String {
        let local = time.to_zoned(zone.clone());
        match self {
            Self::Hourly => local.strftime("%Y-%m-%d %H:00%:z").to_string(),
            Self::Daily => local.strftime("%Y-%m-%d").to_string(),
            Self::Weekly => local.strftime("%G-W%V").to_string(),
            Self::Monthly => local.strftime("%Y-%m").to_string(),
            Self::Yearly => local.strftime("%Y").to_string(),
        }
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

/// How the last backup run of a vault ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    /// The run.
    pub id: RunId,
    /// Whether it made a backup that is complete.
    pub succeeded: bool,
}

/// Why nothing may be pruned now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// The last backup run failed.
    LastRunFailed {
        /// The run.
        run: String,
    },
    /// The newest backup looks wrong and nobody acknowledged it.
    NewestAnomalous {
        /// The backup.
        backup: BackupId,
    },
    /// No backup is complete and free of suspicion.
    NoGoodBackup,
    /// The newest good backup is older than the policy promises.
    Stale {
        /// The backup.
        backup: BackupId,
        /// Its age, in seconds.
        age_seconds: u64,
        /// The promise, in seconds.
        max_age_seconds: u64,
    },
    /// More than half of the backups would go.
    TooLarge {
        /// Backups that would go.
        dropped: usize,
        /// Backups there are.
        total: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = |seconds: u64| format_duration(Duration::from_secs(seconds));
        match self {
            Self::LastRunFailed { run } => write!(f, "nothing is pruned now: the last backup run, {run}, failed"),
            Self::NewestAnomalous { backup } => {
                write!(f, "nothing is pruned now: the newest backup, {backup}, is anomalous and not acknowledged")
            }
            Self::NoGoodBackup => f.write_str("nothing is pruned now: there is no good backup"),
            Self::Stale { backup, age_seconds, max_age_seconds } => write!(
                f,
                "nothing is pruned now: the newest good backup, {backup}, is {} old and the policy promises {}",
                duration(*age_seconds),
                duration(*max_age_seconds)
            ),
            Self::TooLarge { dropped, total } => write!(f, "the plan removes {dropped} of {total} backups, more than half"),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let hint = match &refusal {
            Refusal::TooLarge { .. } => "look at `pgkeep prune POLICY --plan`; if it is right, add --force-large to --yes",
            Refusal::NewestAnomalous { .. } => {
                "look at `pgkeep show POLICY`; old backups stay until it is acknowledged or a good one is made"
            }
            Refusal::LastRunFailed { .. } | Refusal::NoGoodBackup | Refusal::Stale { .. } => {
                "make a good backup first: `pgkeep backup POLICY`; old ones stay until then"
            }
        };
        Self::gate(refusal.to_string()).hint(hint)
    }
}

/// R2: whether anything may be pruned now. Not after a failed or anomalous run, and not while the newest good backup is older
/// than `max_age`: then every old backup may be needed.
pub fn may_prune(
    backups: &[BackupFacts],
    last_run: Option<&LastRun>,
    max_age: Option<Duration>,
    now: Timestamp,
) -> Result<(), Refusal> {
    if let Some(run) = last_run.filter(|r| !r.succeeded) {
        return Err(Refusal::LastRunFailed { run: run.id.to_string() });
    }
    let newest = |wanted: &dyn Fn(&BackupFacts) -> bool| {
        backups.iter().filter(|b| wanted(b)).max_by(|a, b| (a.committed_at, &a.id).cmp(&(b.committed_at, &b.id)))
    };
    if let Some(backup) = newest(&|_| true).filter(|b| b.anomalous) {
        return Err(Refusal::NewestAnomalous { backup: backup.id.clone() });
    }
    let good = newest(&BackupFacts::counts).ok_or(Refusal::NoGoodBackup)?;
    let age = clock::elapsed(good.consistent_at, now);
    match max_age {
        Some(max_age) if age > max_age => {
            Err(Refusal::Stale { backup: good.id.clone(), age_seconds: age.as_secs(), max_age_seconds: max_age.as_secs() })
        }
        _ => Ok(()),
    }
}
