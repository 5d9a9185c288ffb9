//! When backups are due: slots of a cron expression in a zone.
//!
//! A slot is an instant, computed from local times: the expression is matched against the calendar and the clock on the wall,
//! then each match is mapped to an instant. A local time that the clock skips is due at the first valid instant after it; one
//! that it repeats is due once, at its first occurrence. Two local times that fall on the same instant are one slot. The mapping
//! never goes backwards, so slots are strictly increasing.

use std::fmt;
use std::time::Duration;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::file::Day;
use super::model::PolicyName;
use super::zone;
use crate::base::clock;
use crate::base::{Error, Result};

/// Farther than any clock was ever set back.
const LONGEST_FOLD: SignedDuration = SignedDuration::from_hours(25);

/// A cron expression of five fields.
#[derive(Clone)]
pub struct Cron {
    text: String,
    cron: croner::Cron,
}

impl Cron {
    /// Parses five fields or an `@name`. An expression that matches no day at all is refused.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let fields = text.split_whitespace().count();
        let shape = "write five fields: minute hour day-of-month month day-of-week, such as \"15 2 * * *\", or @daily";
        if text.starts_with('@') {
            const NAMES: [&str; 7] = ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"];
            if !NAMES.iter().any(|n| n.eq_ignore_ascii_case(text)) {
                return Err(Error::usage(format!("'{text}' is not a known name")).hint(format!("known: {}", NAMES.join(", "))));
            }
        } else if fields == 6 || fields == 7 {
            return Err(Error::usage(format!(
                "'{text}' has {fields} fields; a schedule has five, seconds and years are not part of it"
            ))
            .hint(shape));
        } else if fields != 5 {
            return Err(Error::usage(format!("'{text}' has {fields} field{}", if fields == 1 { "" } else { "s" })).hint(shape));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        // The library's nicknames expand to six fields, which a parser without seconds refuses.
        let expanded = match text.to_ascii_lowercase().as_str() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            _ => text,
        };
        let cron = parser.parse(expanded).map_err(|e| {
            let reason = match e {
                CronError::InvalidPattern(m) | CronError::IllegalCharacters(m) | CronError::ComponentError(m) => m,
                other => other.to_string(),
            };
            Error::usage(format!("'{text}' is not a schedule: {}", reason.trim_end_matches('.'))).hint(shape)
        })?;
        let this = Self { text: text.to_owned(), cron };
        if this.local_after(DateTime::constant(2024, 1, 1, 0, 0, 0, 0), true).is_none() {
            return Err(Error::usage(format!("'{text}' never happens: no year has such a day")).hint(shape));
        }
        Ok(this)
    }

    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// In words: "At 02:15.".
    pub fn describe(&self) -> String {
        self.cron.describe()
    }

    /// The first slot after `time`, in `zone`; `None` when representable time ends before it.
    pub fn next_after(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut local = whole_second(zone.to_datetime(time));
        loop {
            local = self.local_after(local, false)?;
            let slot = zone::read(zone, local)?.due();
            if slot > time {
                return Some(slot);
            }
        }
    }

    /// The last slot at or before `time`, in `zone`.
    pub fn latest_at(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut local = whole_second(zone.to_datetime(time)).checked_add(LONGEST_FOLD).ok()?;
        let mut inclusive = true;
        loop {
            local = self.cron.find_previous_occurrence(&local, inclusive).ok()?;
            inclusive = false;
            let slot = zone::read(zone, local)?.due();
            if slot <= time {
                return Some(slot);
            }
        }
    }

    /// All slots after `time`, in order, in `zone`.
    pub fn slots_after(&self, time: Timestamp, zone: &TimeZone) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(time, zone), move |t| self.next_after(*t, zone))
    }

    fn local_after(&self, local: DateTime, inclusive: bool) -> Option<DateTime> {
        self.cron.find_next_occurrence(&local, inclusive).ok()
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({:?})", self.text)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn whole_second(local: DateTime) -> DateTime {
    local.with().subsec_nanosecond(0).build().unwrap_or(local)
}

/// When backups of a policy are made.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The local times.
    pub cron: Cron,
    /// The zone of `cron`, of the blackout windows and of retention's calendar.
    pub zone: TimeZone,
    /// Longest delay of a start after its slot.
    pub jitter: Duration,
    /// Tries after a failed one.
    pub retries: u32,
    /// Windows in which no run starts.
    pub blackout: Vec<Blackout>,
}

impl Schedule {
    /// The first slot after `time`.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        self.cron.next_after(time, &self.zone)
    }

    /// The last slot at or before `time`: the one that a run must have covered by then.
    pub fn latest_at(&self, time: Timestamp) -> Option<Timestamp> {
        self.cron.latest_at(time, &self.zone)
    }

    /// The slots after `after` up to and including `until`, in order.
    pub fn slots_between(&self, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        self.cron.slots_after(after, &self.zone).take_while(|slot| *slot <= until).collect()
    }

    /// When the run of a slot starts: after its jitter, and after the blackout window in which that falls.
    pub fn start_of(&self, policy: &PolicyName, slot: Timestamp) -> Timestamp {
        let mut start = clock::add(slot, jitter(policy, slot, self.jitter));
        // Each round leaves one window; windows that follow one another without a gap need one round each.
        for _ in 0..=self.blackout.len() {
            let Some(end) = self.blackout.iter().filter_map(|window| window.end_if_inside(start, &self.zone)).max() else {
                break;
            };
            start = end;
        }
        start
    }
}

/// The delay of a slot's start, below `most`: the same each time it is computed, different from policy to policy and slot to slot.
pub fn jitter(policy: &PolicyName, slot: Timestamp, most: Duration) -> Duration {
    let hash = xxhash_rust::xxh3::xxh3_64(format!("{policy}@{}", slot.as_second()).as_bytes());
    // 53 bits fill a double exactly: a fraction in 0..1.
    let fraction = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    Duration::from_secs(most.mul_f64(fraction).as_secs())
}

/// A window of local time in which no run starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blackout {
    /// Begin.
    pub from: Time,
    /// End, not included; at or before `from`: on the next day.
    pub to: Time,
    /// Days on which it begins; empty: all.
    pub days: Vec<Day>,
}

impl Blackout {
    /// The end of the window, when `time` is inside it.
    fn end_if_inside(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let local = zone.to_datetime(time);
        [local.date(), local.date().yesterday().ok()?].into_iter().find_map(|date| {
            if !self.days.is_empty() && !self.days.iter().any(|d| weekday(*d) == date.weekday()) {
                return None;
            }
            let last = if self.to <= self.from { date.checked_add(1.day()).ok()? } else { date };
            let begin = zone::read(zone, date.to_datetime(self.from))?.due();
            let end = zone::read(zone, last.to_datetime(self.to))?.due();
            (begin <= time && time < end).then_some(end)
        })
    }
}

const fn weekday(day: Day) -> Weekday {
    match day {
        Day::Mon => Weekday::Monday,
        Day::Tue => Weekday::Tuesday,
        Day::Wed => Weekday::Wednesday,
        Day::Thu => Weekday::Thursday,
        Day::Fri => Weekday::Friday,
        Day::Sat => Weekday::Saturday,
        Day::Sun => Weekday::Sunday,
    }
}
