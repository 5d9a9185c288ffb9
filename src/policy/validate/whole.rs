//! A policy out of its own sections and the shared ones, and the rules that sections have about one another.

use std::time::Duration;

use super::super::file::NotifyEvent;
use super::super::model::{Policy, PolicyName, Scratch, Source, VerifyLevel, VerifySchedule, VerifySettings};
use super::super::parse::Sheet;
use super::super::problem::Severity;
use super::super::retention::Rules;
use super::super::schedule::Schedule;
use super::super::{mask, urls};
use super::Parts;
use super::times::intervals;
use crate::base::units::format_duration;

/// Manual snapshots of instances, and of clusters, that an account has in a region unless AWS grants it more
/// (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html>).
const RDS_SNAPSHOTS: u64 = 100;

/// A file and its valid sections.
#[derive(Debug)]
pub(in crate::policy) struct Part<'a> {
    pub(in crate::policy) sheet: &'a mut Sheet,
    pub(in crate::policy) parts: &'a Parts,
}

/// The policy; `None` when a section that it needs is missing or cannot be read. Whether it may be used is for the problems in
/// the sheets to say.
pub(in crate::policy) fn assemble(name: PolicyName, own: Part<'_>, shared: Option<Part<'_>>) -> Option<Policy> {
    let mut both = Both { own, shared };
    let text = both.text();
    let source = both.need("source", |p| p.source.clone());
    let store = both.need("store", |p| p.store.clone());
    let schedule = both.pick("schedule", |p| p.schedule.clone());
    let zone = schedule.as_ref().map_or(jiff::tz::TimeZone::UTC, |s| s.zone.clone());
    let verify = match both.pick("verify", |p| p.verify.clone()) {
        None => VerifySettings { level: VerifyLevel::Content, schedule: None, scratch: Scratch::Auto },
        Some(part) => VerifySettings {
            level: part.level,
            schedule: part.cron.map(|cron| VerifySchedule { cron, zone: part.zone.unwrap_or(zone) }),
            scratch: part.scratch,
        },
    };
    let policy = Policy {
        name,
        path: both.own.sheet.path.clone(),
        description: both.own.sheet.sections.description.clone(),
        source: source?,
        store: store?,
        schedule,
        retention: both.pick("retention", |p| p.retention.clone()),
        verify,
        max_age: both.pick("health", |p| p.max_age),
        notify: both.pick("notify", |p| p.notify.clone()).unwrap_or_default(),
        hooks: both.pick("hooks", |p| p.hooks.clone()).unwrap_or_default(),
        text,
    };
    both.relations(&policy);
    Some(policy)
}

struct Both<'a> {
    own: Part<'a>,
    shared: Option<Part<'a>>,
}

impl Both<'_> {
    fn owns(&self, section: &str) -> bool {
        self.own.sheet.present.iter().any(|s| s == section)
    }

    /// The valid section in force: the policy's own whenever it has one, else the shared one.
    fn pick<T>(&self, section: &str, of: impl Fn(&Parts) -> Option<T>) -> Option<T> {
        if self.owns(section) { of(self.own.parts) } else { self.shared.as_ref().and_then(|s| of(s.parts)) }
    }

    /// The same for a section that every policy needs.
    fn need<T>(&mut self, section: &str, of: impl Fn(&Parts) -> Option<T>) -> Option<T> {
        let shared = self.shared.as_ref().is_some_and(|s| s.sheet.present.iter().any(|s| s == section));
        // After a syntax error nobody knows which sections there are.
        if !self.owns(section) && !shared && self.own.sheet.readable {
            let help = "add it here, or to defaults.toml for all policies".to_owned();
            self.own.sheet.report(Severity::Error, section, "missing-section", format!("there is no [{section}]")).help =
                Some(help);
        }
        self.pick(section, of)
    }

    /// The sheet in which the section in force stands.
    fn sheet(&mut self, section: &str) -> &mut Sheet {
        let owns = self.owns(section);
        match &mut self.shared {
            Some(shared) if !owns => shared.sheet,
            _ => self.own.sheet,
        }
    }

    fn text(&self) -> String {
        let mut table = self.own.sheet.table.clone();
        if let Some(shared) = &self.shared {
            for (section, value) in &shared.sheet.table {
                table.entry(section.clone()).or_insert_with(|| value.clone());
            }
        }
        mask::document(&table)
    }

    fn relations(&mut self, policy: &Policy) {
        self.scratch_is_not_the_source(policy);
        self.promise_can_be_kept(policy);
        self.snapshots_have_room(policy);
        if policy.notify.on.contains(&NotifyEvent::Stale) && policy.max_age.is_none() {
            let sheet = self.sheet("notify");
            sheet.report(Severity::Warning, "notify.on", "needs-key", "'stale' is never sent without health.max_age");
        }
    }

    /// A drill must never run on the server that it is to replace.
    fn scratch_is_not_the_source(&mut self, policy: &Policy) {
        let (Scratch::Server(scratch), Source::Postgres(source)) = (&policy.verify.scratch, &policy.source) else { return };
        let server = |t: &super::Template| t.literal().and_then(|url| urls::server(url.expose()));
        let same_text = scratch.text() == source.url.text();
        let same_server = server(scratch).is_some() && server(scratch) == server(&source.url);
        if same_text || same_server {
            let sheet = self.sheet("verify");
            sheet.report(Severity::Error, "verify.scratch", "scratch-is-source", "is the server that the policy backs up").help =
                Some("a drill needs a server of its own: docker, local, or the address of another one".to_owned());
        }
    }

    fn promise_can_be_kept(&mut self, policy: &Policy) {
        let (Some(schedule), Some(max_age)) = (&policy.schedule, policy.max_age) else { return };
        let Some((_, longest)) = intervals(&schedule.cron, &schedule.zone) else { return };
        if max_age <= longest.saturating_add(schedule.jitter) {
            let message = format!(
                "is not longer than the longest time between two backups of the schedule, {}: the promise is broken each time",
                format_duration(longest.saturating_add(schedule.jitter))
            );
            let help = "allow for that time and the duration of a run, or back up more often".to_owned();
            self.sheet("health").report(Severity::Warning, "health.max_age", "promise", message).help = Some(help);
        }
    }

    /// An account has so many manual snapshots of RDS in a region, those of all its policies and people together.
    fn snapshots_have_room(&mut self, policy: &Policy) {
        if !matches!(policy.source, Source::Rds(_)) {
            return;
        }
        let most = policy.retention.as_ref().map(|rules| most_kept(rules, policy.schedule.as_ref()));
        let (section, message) = match most {
            Some(most) if most <= RDS_SNAPSHOTS => return,
            Some(most) => (
                "retention",
                format!("its rules add up to {most} snapshots, with those in their grace period and the one being made"),
            ),
            None => ("source", "keeps every snapshot, for there is no retention".to_owned()),
        };
        let message = format!(
            "{message}; unless asked for more, AWS lets an account have {RDS_SNAPSHOTS} manual ones in a region, all its policies together"
        );
        self.sheet(section).report(Severity::Warning, section, "quota", message).help =
            Some("keep fewer ([retention]), or have the quota raised (Service Quotas, Amazon RDS)".to_owned());
    }
}

/// The most backups that are there at a time, if no two rules keep the same one: what is removed stays for the grace period, and a prune comes after the
/// backup that it makes room for.
fn most_kept(rules: &Rules, schedule: Option<&Schedule>) -> u64 {
    let counted = [rules.last, rules.hourly, rules.daily, rules.weekly, rules.monthly, rules.yearly].map(u64::from);
    let shortest = schedule.and_then(|s| intervals(&s.cron, &s.zone)).map(|(shortest, _)| shortest);
    let made_in = |time: Duration| shortest.map_or(0, |shortest| time.as_secs().div_ceil(shortest.as_secs().max(1)));
    counted.iter().sum::<u64>() + made_in(rules.within.unwrap_or_default()) + made_in(rules.grace) + 1
}
