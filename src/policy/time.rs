//! Times as people give them on the command line: `--at "14:05"`.
//!
//! A restore at the wrong time is worse than a question, so whatever can be read in two ways is refused with both readings.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::zone::{self, Reading};
use crate::base::units::parse_duration;
use crate::base::{Error, Result, clock};

/// How far a time may lie ahead of this machine's clock: the clock of the machine it was read from may be ahead.
const SKEW: Duration = Duration::from_secs(300);

const FORMS: &str = "write \"2026-11-22 14:05\", \"14:05\", \"yesterday 23:00\", \"2h ago\", \"now\", or RFC 3339 such as 2026-11-22T14:05:00+01:00";

/// Reads a time that has passed: RFC 3339, `2026-11-22 14:05`, `14:05` (today), `today 09:00`, `yesterday 23:00`, `2h ago`, `now`.
/// One that carries no zone is meant in `zone`; a day is 24 hours in `1d ago`. Refused, with the readings named: a local time that
/// the clock skipped or repeated, a date alone, a time of day that today has not reached, and any time in the future.
pub fn parse_at(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp> {
    let text = text.trim();
    let lower = text.to_lowercase();
    if lower == "now" {
        return Ok(now);
    }
    if let Some(ago) = lower.strip_suffix("ago") {
        let ago = parse_duration(ago.trim()).map_err(|_| bad(text))?;
        return Ok(clock::sub(now, ago));
    }
    if let Some(time) = absolute(text) {
        return past(time, text, now, zone);
    }
    let today = now.to_zoned(zone.clone()).date();
    if let Some(time) = time_of_day(&lower) {
        return of_today(time, today, now, zone);
    }
    if let Some((day, time)) = lower.split_once(' ')
        && let Some(time) = time_of_day(time.trim())
        && let Some(date) = match day {
            "today" => Some(today),
            "yesterday" => today.yesterday().ok(),
            _ => None,
        }
    {
        return past(local(date.to_datetime(time), zone)?, text, now, zone);
    }
    if let Ok(date) = text.parse::<Date>()
        && text.len() == 10
    {
        return Err(date_alone(date));
    }
    let local_time: DateTime = local_form(text).ok_or_else(|| bad(text))?;
    past(local(local_time, zone)?, text, now, zone)
}

fn bad(text: &str) -> Error {
    Error::usage(format!("'{text}' is not a time")).hint(FORMS)
}

/// A time that carries its zone: RFC 3339, also with a space, and with `[Europe/Paris]` behind it.
fn absolute(text: &str) -> Option<Timestamp> {
    if text.ends_with(']') { text.parse::<Zoned>().ok().map(|z| z.timestamp()) } else { text.parse::<Timestamp>().ok() }
}

/// `HH:MM` or `HH:MM:SS`.
fn time_of_day(text: &str) -> Option<Time> {
    let digits = text.split(':').all(|part| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()));
    let format = match text.matches(':').count() {
        1 => "%H:%M",
        2 => "%H:%M:%S",
        _ => return None,
    };
    if digits { Time::strptime(format, text).ok() } else { None }
}

/// `YYYY-MM-DD HH:MM[:SS]`, with a space or a `T` between.
fn local_form(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once([' ', 'T', 't'])?;
    let date = (date.len() == 10).then(|| date.parse::<Date>().ok()).flatten()?;
    Some(date.to_datetime(time_of_day(time.trim())?))
}

/// The one instant of a local time, or an error that names both readings.
fn local(time: DateTime, zone: &TimeZone) -> Result<Timestamp> {
    let name = zone::name(zone);
    let what = time.strftime("%Y-%m-%d %H:%M:%S");
    let both = |a, b| format!("write {} or {}", rfc3339(a, zone), rfc3339(b, zone));
    match zone::read(zone, time) {
        Some(Reading::Once(t)) => Ok(t),
        Some(Reading::Twice { first, second }) => {
            Err(Error::usage(format!("{what} happened twice in {name}: the clock was set back")).hint(both(first, second)))
        }
        Some(Reading::Never { before, after, .. }) => {
            Err(Error::usage(format!("{what} never happened in {name}: the clock was set forward over it"))
                .hint(both(before, after)))
        }
        None => Err(Error::usage(format!("{what} is outside the calendar"))),
    }
}

fn of_today(time: Time, today: Date, now: Timestamp, zone: &TimeZone) -> Result<Timestamp> {
    let instant = local(today.to_datetime(time), zone)?;
    if instant <= now {
        return Ok(instant);
    }
    let yesterday = today.yesterday().ok().and_then(|d| zone::read(zone, d.to_datetime(time)));
    let yesterday = yesterday.map(|r| rfc3339(r.due(), zone)).unwrap_or_default();
    Err(Error::usage(format!(
        "{} can mean {}, which is in the future, or yesterday's, {yesterday}",
        time.strftime("%H:%M:%S"),
        rfc3339(instant, zone)
    ))
    .hint(format!("write \"yesterday {}\" if that is meant", time.strftime("%H:%M:%S"))))
}

fn date_alone(date: Date) -> Error {
    let next = date.checked_add(1.day()).unwrap_or(date);
    Error::usage(format!("'{date}' can mean the beginning or the end of that day"))
        .hint(format!("write \"{date} 00:00\" or \"{next} 00:00\", or the time of day that is meant"))
}

fn past(time: Timestamp, text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp> {
    if time > clock::add(now, SKEW) {
        let message = format!("'{text}' is in the future: {}; it is {} now", rfc3339(time, zone), rfc3339(now, zone));
        return Err(Error::usage(message).hint("leave the time out, or write \"now\", for the newest backup"));
    }
    Ok(time)
}

/// RFC 3339 with the zone's offset, to seconds.
pub fn rfc3339(time: Timestamp, zone: &TimeZone) -> String {
    if *zone == TimeZone::UTC {
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    } else {
        time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<Timestamp> {
        // 14:30 in Paris, on the Sunday after the clock was set back.
        parse_at(text, "2026-10-26T13:30:00Z".parse().expect("now"), &zone::find("Europe/Paris").expect("zone"))
    }

    #[test]
    fn every_form_has_its_instant() {
        for (text, expected) in [
            ("2026-10-26T10:00:00Z", "2026-10-26T10:00:00Z"),
            ("2026-10-26 10:00:00+02:00", "2026-10-26T08:00:00Z"),
            ("2026-10-26T10:00+01:00[Europe/Paris]", "2026-10-26T09:00:00Z"),
            ("2026-10-26 09:05", "2026-10-26T08:05:00Z"),
            ("2026-10-24T09:05:07", "2026-10-24T07:05:07Z"),
            ("14:05", "2026-10-26T13:05:00Z"),
            ("today 9:00", "2026-10-26T08:00:00Z"),
            ("Yesterday 23:00", "2026-10-25T22:00:00Z"),
            ("2h ago", "2026-10-26T11:30:00Z"),
            ("90m ago", "2026-10-26T12:00:00Z"),
            ("1d ago", "2026-10-25T13:30:00Z"),
            ("now", "2026-10-26T13:30:00Z"),
            // Ahead by less than clocks differ.
            ("2026-10-26T13:32:00Z", "2026-10-26T13:32:00Z"),
        ] {
            assert_eq!(at(text).map(|t| t.to_string()).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn two_readings_are_both_named() {
        for (text, one, other) in [
            ("2026-10-25 02:30", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"),
            ("2026-03-29 02:30", "2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"),
            ("15:00", "2026-10-26T15:00:00+01:00", "2026-10-25T15:00:00+01:00"),
            ("2026-10-24", "2026-10-24 00:00", "2026-10-25 00:00"),
            ("2027-01-01 00:00", "2027-01-01T00:00:00+01:00", "2026-10-26T14:30:00+01:00"),
        ] {
            let error = at(text).expect_err(text);
            let said = format!("{error} {}", error.hint_text().unwrap_or_default());
            assert!(said.contains(one) && said.contains(other), "{text}: {said}");
            assert_eq!(error.kind().exit_code(), 2);
        }
        for text in ["", "later", "25:00", "14", "2026-13-01 00:00", "ago", "-2h ago", "14:5x", "tomorrow 10:00", "2026-10-24 "] {
            assert!(at(text).is_err(), "{text}");
        }
    }
}
