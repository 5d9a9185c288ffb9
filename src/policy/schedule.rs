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

/// Retries of a failed run when the policy names none.
pub(super) const DEFAULT_RETRIES: u32 = 3;
/// Longest run when the policy does not say.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(24 * 3600);
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
    /// A run that lasts longer than this is stopped and has failed.
    pub deadline: Duration,
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
        self.outside_blackout(clock::add(slot, jitter(policy, slot, self.jitter)))
    }

    /// `time`, or the end of the blackout window in which it falls.
    pub fn outside_blackout(&self, time: Timestamp) -> Timestamp {
        let mut start = time;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("time")
    }

    fn slots(cron: &str, zone: &str, after: &str, until: &str) -> Vec<String> {
        let schedule = schedule(cron, zone);
        schedule.slots_between(at(after), at(until)).iter().map(ToString::to_string).collect()
    }

    fn schedule(cron: &str, zone: &str) -> Schedule {
        Schedule {
            cron: Cron::parse(cron).expect("cron"),
            zone: zone::find(zone).expect("zone"),
            jitter: Duration::ZERO,
            retries: 0,
            blackout: Vec::new(),
            deadline: Duration::from_secs(3600),
        }
    }

    /// A second, plain reading of five fields as bit sets: numbers, lists, ranges and steps; a day matches by either day field when
    /// both are given.
    struct Plain {
        bits: [u64; 5],
        either: bool,
    }

    impl Plain {
        fn parse(cron: &str) -> Self {
            let fields: Vec<&str> = cron.split(' ').collect();
            let limits = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
            let bits = std::array::from_fn(|i| {
                fields[i].split(',').fold(0, |bits, item| {
                    let (range, step) = item.split_once('/').unwrap_or((item, "1"));
                    let (from, to) = match range.split_once('-') {
                        _ if range == "*" => limits[i],
                        Some((from, to)) => (from.parse().expect("from"), to.parse().expect("to")),
                        None => (range.parse().expect("value"), range.parse().expect("value")),
                    };
                    (from..=to).step_by(step.parse().expect("step")).fold(bits, |bits, value| bits | 1 << value)
                })
            });
            Self { bits, either: fields[2] != "*" && fields[4] != "*" }
        }

        fn matches(&self, local: DateTime, weekday: Weekday) -> bool {
            let values = [local.minute(), local.hour(), local.day(), local.month(), weekday.to_sunday_zero_offset()];
            let has: [bool; 5] = std::array::from_fn(|i| self.bits[i] & (1 << values[i]) != 0);
            has[0] && has[1] && has[3] && if self.either { has[2] || has[4] } else { has[2] && has[4] }
        }
    }

    /// Every local minute of 2028, a leap year, with the instant when the clock on the wall first shows it or a later one.
    fn calendar(zone: &TimeZone) -> Vec<(DateTime, Weekday, Timestamp)> {
        let (start, end) = (DateTime::constant(2028, 1, 1, 0, 0, 0, 0), DateTime::constant(2029, 1, 1, 0, 0, 0, 0));
        let mut minutes = Vec::new();
        let mut now = zone::read(zone, start).expect("in range").due();
        let mut local = start;
        while local < end {
            if zone.to_datetime(now) < local {
                now = clock::add(now, Duration::from_secs(60));
                continue;
            }
            minutes.push((local, local.weekday(), now));
            local = local.checked_add(SignedDuration::from_mins(1)).expect("in range");
        }
        minutes
    }

    /// In zones that move the clock by an hour, by half an hour, and in the other half of the year: every slot is found exactly once,
    /// from wherever one asks.
    #[test]
    fn a_year_has_each_slot_exactly_once() {
        let crons = [
            "0 2 * * *",
            "30 2 * * *",
            "*/20 * * * *",
            "15 1-3 * * 0",
            "0 2 31 * *",
            "0 2 29 2 *",
            "0 3 1,15 * 1",
            "0 0 * * 1-5",
        ];
        let seed: u64 = std::env::var("PGKEEP_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_122);
        let mut random = StdRng::seed_from_u64(seed);
        for name in ["Europe/Paris", "America/New_York", "Australia/Lord_Howe"] {
            let calendar = calendar(&zone::find(name).expect("zone"));
            let (first, last) = (calendar[0].2, calendar[calendar.len() - 1].2);
            for cron in crons {
                let plain = Plain::parse(cron);
                let matching = calendar.iter().filter(|(local, weekday, _)| plain.matches(*local, *weekday));
                let due: Vec<Timestamp> = matching.map(|(_, _, t)| *t).collect::<BTreeSet<_>>().into_iter().collect();
                let schedule = schedule(cron, name);
                assert_eq!(schedule.slots_between(clock::sub(first, Duration::from_micros(1)), last), due, "{cron} in {name}");
                for _ in 0..40 {
                    let time = clock::add(first, Duration::from_micros(random.random_range(0..365 * 86_400_000_000_u64)));
                    let next = due.partition_point(|slot| *slot <= time);
                    if let Some(slot) = due.get(next) {
                        assert_eq!(schedule.next_after(time), Some(*slot), "{cron} in {name} after {time}, seed {seed}");
                    }
                    if next > 0 {
                        assert_eq!(schedule.latest_at(time), Some(due[next - 1]), "{cron} in {name} at {time}, seed {seed}");
                    }
                }
            }
        }
    }

    #[test]
    fn rare_days_and_clock_changes() {
        assert_eq!(
            slots("30 2 * * *", "Europe/Paris", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z"),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            slots("30 2 * * *", "Europe/Paris", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        assert_eq!(
            slots("0 2 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2033-01-01T00:00:00Z"),
            ["2028-02-29T02:00:00Z", "2032-02-29T02:00:00Z"]
        );
        assert_eq!(slots("@monthly", "Pacific/Apia", "2026-01-15T00:00:00Z", "2026-03-15T00:00:00Z").len(), 2);
        // Asked in the hour that comes twice, the last slot is the one of its first pass.
        let half_past = schedule("*/15 * * * *", "Europe/Paris");
        assert_eq!(half_past.latest_at(at("2026-10-25T01:10:00Z")), Some(at("2026-10-25T00:45:00Z")));
        assert_eq!(half_past.next_after(at("2026-10-25T01:10:00Z")), Some(at("2026-10-25T02:00:00Z")));
    }

    #[test]
    fn what_is_not_a_schedule_is_refused_with_a_reason() {
        for (text, reason) in [
            ("0 0 2 * * *", "6 fields"),
            ("2 * *", "3 fields"),
            ("", "0 fields"),
            ("61 2 * * *", "not a schedule"),
            ("0 2 30 2 *", "never happens"),
            ("@nightly", "known"),
            ("@reboot", "known"),
        ] {
            let error = Cron::parse(text).expect_err(text);
            assert!(error.to_string().contains(reason) && error.hint_text().is_some(), "{text}: {error}");
        }
        assert_eq!(Cron::parse("@Daily").expect("name").as_str(), "@Daily");
    }

    #[test]
    fn starts_are_jittered_and_held_up_by_blackouts() {
        let one: PolicyName = "one".parse().expect("name");
        let most = Duration::from_secs(300);
        let mut schedule = schedule("0 2 * * *", "Europe/Paris");
        schedule.jitter = most;
        let delays: BTreeSet<Duration> = schedule
            .slots_between(at("2026-01-01T00:00:00Z"), at("2026-03-01T00:00:00Z"))
            .into_iter()
            .map(|slot| {
                assert_eq!(schedule.start_of(&one, slot), schedule.start_of(&one, slot));
                clock::elapsed(slot, schedule.start_of(&one, slot))
            })
            .collect();
        assert!(delays.len() > 40 && delays.iter().all(|d| *d < most), "{delays:?}");
        schedule.jitter = Duration::ZERO;
        let window =
            |from: &str, to: &str, days| Blackout { from: from.parse().expect("from"), to: to.parse().expect("to"), days };
        schedule.blackout = vec![window("23:00", "02:30", vec![Day::Sat]), window("02:30", "04:00", Vec::new())];
        let start = |slot| schedule.start_of(&one, at(slot)).to_string();
        assert_eq!(
            start("2026-11-22T01:00:00Z"),
            "2026-11-22T03:00:00Z",
            "a Sunday: out of Saturday's window into the daily one"
        );
        assert_eq!(start("2026-11-23T01:00:00Z"), "2026-11-23T01:00:00Z", "a Monday at two is in no window");
    }
}
