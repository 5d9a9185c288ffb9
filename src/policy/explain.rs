//! A policy in words: when its next runs are, what retention would keep, what is promised and how it is proven.

use std::fmt::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::model::{Databases, HookCommand, Hooks, NotifySettings, Policy, RdsTarget, Scratch, Source, Volumes, WebhookFormat};
use super::retention::{self, BackupFacts, Rules};
use super::schedule::{Cron, DEFAULT_DEADLINE, Schedule};
use super::time::rfc3339;
use super::zone;
use crate::base::ids::BackupId;
use crate::base::units::format_duration;

/// Runs that are shown.
const RUNS: usize = 5;
/// Backups of a simulated history, so that a schedule of every minute does not take long.
const HISTORY: usize = 20_000;

/// A policy in words; `policy explain` prints it as text or JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The policy.
    pub policy: String,
    /// Its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What is protected.
    pub source: String,
    /// Where backups live, as the policy says it.
    pub store: String,
    /// The zone of the schedule and of retention's calendar.
    pub timezone: String,
    /// When backups are made.
    pub schedule: String,
    /// The next runs.
    pub next_runs: Vec<Run>,
    /// What was missed; filled in by whoever can read the vault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
    /// Which backups stay.
    pub retention: Vec<String>,
    /// What retention keeps: of the backups given, or of a history simulated from the schedule.
    pub keeps: Keeps,
    /// The promise.
    pub health: String,
    /// Who hears of what.
    pub notify: String,
    /// What runs around each backup.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<String>,
    /// How backups are proven.
    pub verify: String,
    /// The next verifications.
    pub next_verifications: Vec<Run>,
}

/// One run to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Its slot, in UTC.
    pub slot: Timestamp,
    /// Its slot, in the schedule's zone.
    pub local: String,
    /// When it starts: the slot, its jitter, and any blackout window that holds it up.
    pub starts: Timestamp,
}

/// Slots that no run covered.
#[derive(Debug, Clone, Serialize)]
pub struct Missed {
    /// From when on it is known; `None`: not at all.
    pub since: Option<Timestamp>,
    /// The last of them, oldest first.
    pub slots: Vec<Run>,
    /// Why it is not known, or what is being done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What retention keeps.
#[derive(Debug, Clone, Serialize)]
pub struct Keeps {
    /// Whether the backups are simulated: one at each slot, for as long as the rules reach back.
    pub simulated: bool,
    /// Backups there are.
    pub backups: usize,
    /// Those that stay, newest first.
    pub kept: Vec<Kept>,
}

/// A backup that stays.
#[derive(Debug, Clone, Serialize)]
pub struct Kept {
    /// Its consistency point.
    pub consistent_at: Timestamp,
    /// The same in the policy's zone.
    pub local: String,
    /// Every reason.
    pub reasons: String,
}

/// Explains `policy` as of `now`. `backups`: those of its vault; `None`: a history is simulated from the schedule.
pub fn explain(policy: &Policy, backups: Option<&[BackupFacts]>, now: Timestamp) -> Explanation {
    let zone = policy.zone();
    let verify = policy.verify.schedule.as_ref();
    Explanation {
        policy: policy.name.to_string(),
        description: policy.description.clone(),
        source: source(&policy.source),
        store: super::mask::address(policy.store.url.text().expose()),
        timezone: zone::name(&zone),
        schedule: policy.schedule.as_ref().map_or_else(|| "only on command".to_owned(), schedule),
        next_runs: policy.schedule.as_ref().map(|s| runs(policy, s, now)).unwrap_or_default(),
        missed: None,
        retention: rules(policy.retention.as_ref()),
        keeps: keeps(policy, backups, now),
        health: policy.max_age.map_or_else(
            || "no promise".to_owned(),
            |age| format!("the newest good backup is never older than {}; nothing is pruned while it is", format_duration(age)),
        ),
        notify: hearers(&policy.notify),
        hooks: hooks(&policy.hooks),
        verify: verification(policy),
        next_verifications: verify.map(|v| verifications(&v.cron, &v.zone, now)).unwrap_or_default(),
    }
}

fn source(source: &Source) -> String {
    match source {
        Source::Postgres(postgres) => match &postgres.databases {
            Databases::OfUrl => "PostgreSQL, the database that the URL names".to_owned(),
            Databases::Named(names) => format!("PostgreSQL, {}", names.join(", ")),
            Databases::All => "PostgreSQL, all databases that accept connections".to_owned(),
        },
        Source::Ebs(ebs) => {
            let volumes = match &ebs.volumes {
                Volumes::OfInstance { id, exclude_root, devices } => {
                    let at = if devices.is_empty() { String::new() } else { format!(" at {}", devices.join(", ")) };
                    format!("the volumes of {id}{at}{}", if *exclude_root { " without its root" } else { "" })
                }
                Volumes::Ids(ids) => ids.join(", "),
                Volumes::Tagged(tags) => {
                    let tags: Vec<String> = tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
                    format!("the volumes tagged {}", tags.join(", "))
                }
                Volumes::OfDataDirectory(path) => format!("the volume of {}", path.display()),
            };
            format!("EBS, {volumes} in {}", ebs.region)
        }
        Source::Rds(rds) => {
            let target = match &rds.target {
                RdsTarget::Instance(name) => format!("instance {name}"),
                RdsTarget::Cluster(name) => format!("cluster {name}"),
            };
            format!("RDS, {target} in {}", rds.region)
        }
    }
}

fn schedule(schedule: &Schedule) -> String {
    let mut text = timetable(&schedule.cron, &schedule.zone);
    if !schedule.jitter.is_zero() {
        let _ = write!(text, ", started up to {} later", format_duration(schedule.jitter));
    }
    match schedule.retries {
        0 => text.push_str(", not tried again"),
        1 => text.push_str(", tried again once"),
        n => {
            let _ = write!(text, ", tried again {n} times");
        }
    }
    if schedule.deadline != DEFAULT_DEADLINE {
        let _ = write!(text, ", stopped after {}", format_duration(schedule.deadline));
    }
    for window in &schedule.blackout {
        let _ = write!(text, ", never begun from {} to {}", window.from.strftime("%H:%M"), window.to.strftime("%H:%M"));
    }
    text
}

fn hooks(hooks: &Hooks) -> Vec<String> {
    let named = [
        ("before each backup", &hooks.before),
        ("after a good one", &hooks.after),
        ("after a failed one", &hooks.on_failure),
        ("after each, last", &hooks.finally),
    ];
    let shown = |command: &HookCommand| match command {
        HookCommand::Shell(text) => super::mask::address(text),
        HookCommand::Program(words) => super::mask::address(&words.join(" ")),
    };
    let timeout = format_duration(hooks.timeout);
    named
        .iter()
        .filter_map(|(when, command)| command.as_ref().map(|c| format!("{when}: {} (at most {timeout})", shown(c))))
        .collect()
}

fn timetable(cron: &Cron, zone: &TimeZone) -> String {
    format!("{} ({cron}, {})", cron.describe().trim_end_matches('.'), zone::name(zone))
}

fn runs(policy: &Policy, schedule: &Schedule, now: Timestamp) -> Vec<Run> {
    let run = |slot| Run { slot, local: rfc3339(slot, &schedule.zone), starts: schedule.start_of(&policy.name, slot) };
    schedule.cron.slots_after(now, &schedule.zone).take(RUNS).map(run).collect()
}

/// The slots in `slots` as they are shown.
pub fn slots(policy: &Policy, slots: &[Timestamp]) -> Vec<Run> {
    let Some(schedule) = &policy.schedule else { return Vec::new() };
    let run = |slot: &Timestamp| Run {
        slot: *slot,
        local: rfc3339(*slot, &schedule.zone),
        starts: schedule.start_of(&policy.name, *slot),
    };
    slots.iter().map(run).collect()
}

fn verifications(cron: &Cron, zone: &TimeZone, now: Timestamp) -> Vec<Run> {
    let run = |slot| Run { slot, local: rfc3339(slot, zone), starts: slot };
    cron.slots_after(now, zone).take(RUNS).map(run).collect()
}

fn verification(policy: &Policy) -> String {
    if !matches!(policy.source, Source::Postgres(_)) {
        let when = match &policy.verify.schedule {
            Some(verify) => format!("for the newest one: {}", timetable(&verify.cron, &verify.zone)),
            None => "on command".to_owned(),
        };
        return format!(
            "AWS is asked for every snapshot of a backup (presence) when it is made, and {when}; deeper levels do not exist"
        );
    }
    let place = match &policy.verify.scratch {
        Scratch::Auto => "whatever server the machine can start",
        Scratch::Docker => "a container",
        Scratch::Local => "a local server of its own",
        Scratch::Server(_) => "a temporary database on the scratch server",
    };
    let level = policy.verify.level;
    let when = match &policy.verify.schedule {
        Some(verify) => format!("the newest one gets {level}: {}", timetable(&verify.cron, &verify.zone)),
        None => format!("{level} on command"),
    };
    format!("every backup gets presence when it is made; {when}; drills restore into {place}")
}

fn hearers(notify: &NotifySettings) -> String {
    let mut channels = Vec::new();
    if let Some(webhook) = &notify.webhook {
        channels.push(match webhook.format() {
            None => "webhook".to_owned(),
            Some(WebhookFormat::Json) => "webhook (JSON)".to_owned(),
            Some(WebhookFormat::Slack) => "webhook (Slack)".to_owned(),
        });
    }
    channels.extend(notify.email.as_ref().map(|email| format!("e-mail to {}", email.to.join(", "))));
    channels.extend(notify.sns.as_ref().map(|_| "SNS topic".to_owned()));
    let events: Vec<&str> = notify.on.iter().map(|e| e.as_str()).collect();
    let mut parts = Vec::new();
    if !channels.is_empty() {
        parts.push(format!(
            "{}, of {}",
            channels.join("; "),
            if events.is_empty() { "nothing".to_owned() } else { events.join(", ") }
        ));
    }
    parts.extend(notify.heartbeat.as_ref().map(|_| "a heartbeat address is called when a backup begins and ends".to_owned()));
    if parts.is_empty() { "nobody is told".to_owned() } else { parts.join("; ") }
}

fn rules(rules: Option<&Rules>) -> Vec<String> {
    let Some(rules) = rules else { return vec!["every backup stays: there is no [retention]".to_owned()] };
    let mut lines = Vec::new();
    if rules.last > 0 {
        lines.push(format!("the newest {}", rules.last));
    }
    if let Some(within) = rules.within {
        lines.push(format!("all made within {} before the newest", format_duration(within)));
    }
    for (count, unit) in
        [(rules.hourly, "hour"), (rules.daily, "day"), (rules.weekly, "week"), (rules.monthly, "month"), (rules.yearly, "year")]
    {
        match count {
            0 => {}
            1 => lines.push(format!("the last of the newest {unit} that has one")),
            n => lines.push(format!("the last of each of the newest {n} {unit}s that have one")),
        }
    }
    lines
        .push("whatever else is said: the newest proven one, the two newest complete ones, pinned and anomalous ones".to_owned());
    lines.push(format!("what goes can be brought back for {} with `pgkeep undelete`", format_duration(rules.grace)));
    lines
}

fn keeps(policy: &Policy, backups: Option<&[BackupFacts]>, now: Timestamp) -> Keeps {
    let zone = policy.zone();
    let simulated = backups.is_none();
    let history = match (backups, &policy.schedule) {
        (Some(backups), _) => backups.to_vec(),
        (None, Some(schedule)) => history(schedule, policy.retention.as_ref(), now),
        (None, None) => Vec::new(),
    };
    let decision = retention::decide(&history, policy.retention.as_ref(), &zone, now);
    let kept = decision
        .kept()
        .map(|v| Kept { consistent_at: v.consistent_at, local: rfc3339(v.consistent_at, &zone), reasons: v.text() })
        .collect();
    Keeps { simulated, backups: history.len(), kept }
}

/// One proven backup at each slot, newest first, back to where the rules reach, or to a month ago where they keep everything.
fn history(schedule: &Schedule, rules: Option<&Rules>, now: Timestamp) -> Vec<BackupFacts> {
    let day = |n: u64| Duration::from_secs(n * 86400);
    let reach = rules.map_or(day(31), |r| {
        [
            day(1 + u64::from(r.daily) + u64::from(r.hourly) / 24),
            day(7 * (1 + u64::from(r.weekly))),
            day(31 * (1 + u64::from(r.monthly))),
            day(366 * (1 + u64::from(r.yearly))),
            r.within.unwrap_or_default(),
        ]
        .into_iter()
        .max()
        .unwrap_or_default()
    });
    let oldest = crate::base::clock::sub(now, reach);
    let mut slots = std::iter::successors(schedule.latest_at(now), |slot| {
        schedule.latest_at(crate::base::clock::sub(*slot, Duration::from_nanos(1)))
    });
    let facts = |slot: Timestamp| {
        // An id of the usual form; the digits after the time only need to be some.
        let id: BackupId = format!("{}-0000", slot.strftime("%Y%m%dT%H%M%SZ")).parse().ok()?;
        Some(BackupFacts {
            id,
            consistent_at: slot,
            committed_at: slot,
            complete: true,
            anomalous: false,
            proven: true,
            pinned: None,
            keep_until: None,
        })
    };
    slots.by_ref().take_while(|slot| *slot >= oldest).take(HISTORY).filter_map(facts).collect()
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}{}", self.policy, self.description.as_ref().map(|d| format!(": {d}")).unwrap_or_default())?;
        writeln!(f, "  source     {}", self.source)?;
        writeln!(f, "  store      {}", self.store)?;
        writeln!(f, "  schedule   {}", self.schedule)?;
        write_runs(f, &self.next_runs)?;
        if let Some(missed) = &self.missed {
            write_missed(f, missed)?;
        }
        for (i, hook) in self.hooks.iter().enumerate() {
            writeln!(f, "  {}  {hook}", if i == 0 { "hooks    " } else { "         " })?;
        }
        writeln!(f, "  health     {}", self.health)?;
        writeln!(f, "  notify     {}", self.notify)?;
        writeln!(f, "  verify     {}", self.verify)?;
        write_runs(f, &self.next_verifications)?;
        writeln!(f, "  retention  keeps")?;
        for line in &self.retention {
            writeln!(f, "    {line}")?;
        }
        let of = if self.keeps.simulated { "in a history simulated from the schedule" } else { "in the vault" };
        writeln!(f, "  would keep {} of {} backups {of}", self.keeps.kept.len(), self.keeps.backups)?;
        for kept in &self.keeps.kept {
            writeln!(f, "    {}  {}", kept.local, kept.reasons)?;
        }
        Ok(())
    }
}

fn write_missed(f: &mut fmt::Formatter<'_>, missed: &Missed) -> fmt::Result {
    match (missed.since, missed.slots.as_slice()) {
        (None, _) => writeln!(f, "  missed     not known: {}", missed.note.as_deref().unwrap_or_default()),
        (Some(since), []) => writeln!(f, "  missed     nothing since {since}"),
        (Some(since), slots) => {
            let note = missed.note.as_deref().map(|n| format!("; {n}")).unwrap_or_default();
            writeln!(f, "  missed     the last since {since}{note}")?;
            write_runs(f, slots)
        }
    }
}

fn write_runs(f: &mut fmt::Formatter<'_>, runs: &[Run]) -> fmt::Result {
    for run in runs {
        write!(f, "    {}  {}", run.local, run.slot.strftime("%Y-%m-%d %H:%M:%SZ"))?;
        if run.starts == run.slot {
            writeln!(f)?;
        } else {
            writeln!(f, "  starts {}", run.starts.strftime("%H:%M:%SZ"))?;
        }
    }
    Ok(())
}
