//! A notice in words.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use crate::base::clock::elapsed;
use crate::base::limits::NOTIFY_REMINDERS;
use crate::base::units::format_duration;
use crate::policy::Policy;
use crate::policy::time::rfc3339;
use crate::repo::notices::{Notice, Topic};

/// What is sent: the notice, and what the receiver needs to know of its policy.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) policy: String,
    pub(super) description: Option<String>,
    pub(super) notice: Notice,
    zone: TimeZone,
}

impl Message {
    pub(super) fn new(policy: &Policy, notice: &Notice) -> Self {
        Self {
            policy: policy.name.to_string(),
            description: policy.description.clone(),
            notice: notice.clone(),
            zone: policy.zone(),
        }
    }

    pub(super) fn is_test(&self) -> bool {
        self.notice.topic == Topic::Test
    }

    /// One line: `harena-db: backup failed`.
    pub(super) fn subject(&self) -> String {
        format!("{}: {}", self.policy, self.notice.title)
    }

    /// Plain text: what happened, what to do, and where.
    pub(super) fn body(&self) -> String {
        let n = &self.notice;
        let mut out = String::new();
        for part in [Some(&n.detail), n.hint.as_ref()].into_iter().flatten().filter(|p| !p.is_empty()) {
            let _ = writeln!(out, "{part}");
        }
        if !out.is_empty() {
            out.push('\n');
        }
        let name = self.description.as_ref().map_or_else(|| self.policy.clone(), |d| format!("{} ({d})", self.policy));
        let mut row = |key: &str, value: &str| {
            let _ = writeln!(out, "{key:<8} {value}");
        };
        row("policy", &name);
        if let Some(run) = &n.run {
            row("run", run.as_str());
        }
        if let Some(backup) = &n.backup {
            row("backup", backup.as_str());
        }
        row("host", &n.host);
        row("time", &rfc3339(n.at, &self.zone));
        if n.told > 1 {
            row("since", &format!("{} ({})", rfc3339(n.since, &self.zone), format_duration(elapsed(n.since, n.at))));
        }
        if let Some(line) = self.outlook() {
            let _ = writeln!(out, "\n{line}");
        }
        out
    }

    /// What will be heard next.
    fn outlook(&self) -> Option<String> {
        let n = &self.notice;
        match n.topic {
            _ if !n.open => None,
            Topic::Test | Topic::Heartbeat => None,
            Topic::Age => Some("This is said once, until it is right again.".to_owned()),
            _ => {
                let pause = NOTIFY_REMINDERS[(n.reminders as usize).min(NOTIFY_REMINDERS.len() - 1)];
                Some(format!("This is message {} about it; the same is not said again for {}.", n.told, format_duration(pause)))
            }
        }
    }
}
