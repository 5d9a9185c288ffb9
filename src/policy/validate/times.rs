//! `[schedule]`, `[retention]`, `[verify]` and `[health]`.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::super::file::{BlackoutSection, VerifyLevel};
use super::super::model::Scratch;
use super::super::parse::Sheet;
use super::super::problem::Severity;
use super::super::retention::Rules;
use super::super::schedule::{Blackout, Cron, DEFAULT_DEADLINE, DEFAULT_RETRIES, Schedule};
use super::super::{urls, zone};
use super::{VerifyPart, address, duration, template};
use crate::base::units::format_duration;
use crate::base::{clock, limits};

/// A grace shorter than this hardly lets anybody notice a mistake.
const SHORT_GRACE: Duration = Duration::from_secs(3600);

pub(super) fn schedule(sheet: &mut Sheet) -> Option<Schedule> {
    let section = sheet.sections.schedule.clone()?;
    let cron = section.cron.as_deref().and_then(|text| cron(sheet, "schedule.cron", text));
    let zone = match section.timezone.as_deref() {
        None => Some(TimeZone::UTC),
        Some(name) => time_zone(sheet, "schedule.timezone", name),
    };
    let jitter = duration(sheet, "schedule.jitter", section.jitter.as_deref()).unwrap_or_default();
    let deadline = duration(sheet, "schedule.deadline", section.deadline.as_deref()).unwrap_or(DEFAULT_DEADLINE);
    if deadline.is_zero() {
        sheet.report(Severity::Error, "schedule.deadline", "duration", "must be longer than nothing");
    }
    let blackout: Vec<Blackout> = section
        .blackout
        .unwrap_or_default()
        .iter()
        .enumerate()
        .filter_map(|(i, window)| self::blackout(sheet, &format!("schedule.blackout[{i}]"), window))
        .collect();
    let retries = section.retries.unwrap_or(DEFAULT_RETRIES);
    let schedule = Schedule { cron: cron?, zone: zone?, jitter, retries, blackout, deadline };
    if let Some((shortest, _)) = intervals(&schedule.cron, &schedule.zone)
        && schedule.jitter >= shortest
    {
        let message = format!("is not shorter than the shortest time between two slots, {}", format_duration(shortest));
        sheet.report(Severity::Error, "schedule.jitter", "jitter", message).help =
            Some("a start must not reach the next slot".to_owned());
    }
    Some(schedule)
}

fn cron(sheet: &mut Sheet, key: &str, text: &str) -> Option<Cron> {
    Cron::parse(text).map_err(|error| sheet.report_error(key, "cron", &error)).ok()
}

fn time_zone(sheet: &mut Sheet, key: &str, name: &str) -> Option<TimeZone> {
    let found = zone::find(name);
    if found.is_err() {
        let problem = sheet.report(Severity::Error, key, "timezone", format!("'{name}' is not a known time zone"));
        problem.nearest = zone::suggestion(name);
        if problem.nearest.is_none() {
            problem.help = Some("IANA names such as Europe/Paris are known".to_owned());
        }
    }
    found.ok()
}

fn blackout(sheet: &mut Sheet, key: &str, window: &BlackoutSection) -> Option<Blackout> {
    let from = window.from.as_deref().and_then(|text| time_of_day(sheet, &format!("{key}.from"), text));
    let to = window.to.as_deref().and_then(|text| time_of_day(sheet, &format!("{key}.to"), text));
    if from.is_some() && from == to {
        sheet.report(Severity::Error, key, "blackout", "covers whole days: from and to are the same");
    }
    if window.days.as_ref().is_some_and(Vec::is_empty) {
        sheet.report(Severity::Error, &format!("{key}.days"), "empty-list", "names no day").help =
            Some("leave the key out for all".to_owned());
    }
    Some(Blackout { from: from?, to: to?, days: window.days.clone().unwrap_or_default() })
}

fn time_of_day(sheet: &mut Sheet, key: &str, text: &str) -> Option<Time> {
    let time = (text.len() == 5).then(|| Time::strptime("%H:%M", text).ok()).flatten();
    if time.is_none() {
        sheet.report(Severity::Error, key, "time-of-day", format!("'{text}' is not a time of day")).help =
            Some("write HH:MM".to_owned());
    }
    time
}

/// Shortest and longest time between two slots, over the slots of nine years or two thousand of them, from a fixed day on: the
/// answer for a policy never depends on when it is asked.
pub(super) fn intervals(cron: &Cron, zone: &TimeZone) -> Option<(Duration, Duration)> {
    let start = Timestamp::constant(1_767_225_600, 0);
    let end = start.checked_add((9 * 366 * 24).hours()).ok()?;
    let slots: Vec<Timestamp> = cron.slots_after(start, zone).take(2000).take_while(|t| *t < end).collect();
    let between = || slots.windows(2).map(|w| clock::elapsed(w[0], w[1]));
    Some((between().min()?, between().max()?))
}

pub(super) fn retention(sheet: &mut Sheet) -> Option<Rules> {
    let section = sheet.sections.retention.clone()?;
    let within = duration(sheet, "retention.keep_within", section.keep_within.as_deref());
    let grace = duration(sheet, "retention.grace", section.grace.as_deref()).unwrap_or(limits::GRACE);
    let rules = Rules {
        last: section.keep_last.unwrap_or(0),
        within,
        hourly: section.keep_hourly.unwrap_or(0),
        daily: section.keep_daily.unwrap_or(0),
        weekly: section.keep_weekly.unwrap_or(0),
        monthly: section.keep_monthly.unwrap_or(0),
        yearly: section.keep_yearly.unwrap_or(0),
        grace,
    };
    let counts = [rules.last, rules.hourly, rules.daily, rules.weekly, rules.monthly, rules.yearly];
    let within_given = within.is_some_and(|w| !w.is_zero());
    // A rule that could not be read is a rule all the same.
    let unread = sheet.problems.iter().any(|p| p.key.starts_with("retention."));
    if counts.iter().all(|n| *n == 0) && !within_given && !unread {
        sheet.report(Severity::Error, "retention", "keeps-nothing", "keeps nothing").help =
            Some("name at least one keep_ rule above zero, or leave the section out to keep every backup".to_owned());
    }
    if grace < SHORT_GRACE {
        sheet
            .report(Severity::Warning, "retention.grace", "short-grace", "leaves little time to notice a mistake and undelete")
            .help = Some("the default is 24h".to_owned());
    }
    Some(rules)
}

pub(super) fn verify(sheet: &mut Sheet) -> Option<VerifyPart> {
    let section = sheet.sections.verify.clone()?;
    let cron = section.cron.as_deref().and_then(|text| cron(sheet, "verify.cron", text));
    let zone = section.timezone.as_deref().and_then(|name| time_zone(sheet, "verify.timezone", name));
    if section.timezone.is_some() && section.cron.is_none() {
        sheet.report(Severity::Warning, "verify.timezone", "needs-key", "means something only with cron");
    }
    let scratch = match section.scratch.as_deref() {
        None | Some("auto") => Scratch::Auto,
        Some("docker") => Scratch::Docker,
        Some("local") => Scratch::Local,
        Some(text) => server(sheet, text)?,
    };
    Some(VerifyPart { level: section.level.unwrap_or(VerifyLevel::Content), cron, zone, scratch })
}

fn server(sheet: &mut Sheet, text: &str) -> Option<Scratch> {
    let words = ["auto", "docker", "local"];
    if !text.contains(':') && !text.contains("${") {
        let problem = sheet.report(Severity::Error, "verify.scratch", "unknown-value", format!("'{text}' is not a known value"));
        problem.nearest = super::super::suggest::nearest(text, words).map(str::to_owned);
        problem.allowed = words.map(str::to_owned).into_iter().chain(["a postgres:// address".to_owned()]).collect();
        return None;
    }
    let template = template(sheet, "verify.scratch", text, true)?;
    address(sheet, "verify.scratch", &template, urls::postgres);
    Some(Scratch::Server(template))
}

pub(super) fn max_age(sheet: &mut Sheet) -> Option<Duration> {
    let text = sheet.sections.health.clone()?.max_age;
    let max_age = duration(sheet, "health.max_age", text.as_deref())?;
    if max_age.is_zero() {
        sheet.report(Severity::Error, "health.max_age", "duration", "must be longer than nothing");
    }
    Some(max_age)
}
