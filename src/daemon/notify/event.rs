//! What happened, as something that people may be told.

use std::time::Duration;

use crate::base::ids::{BackupId, RunId};
use crate::base::units::format_duration;
use crate::base::{Error, Kind};
use crate::policy::model::NotifyEvent;
use crate::repo::lease::LeaseLost;
use crate::repo::notices::Topic;
use crate::repo::runs::RunKind;

/// Most characters of a cause: enough to tell two apart.
const CAUSE_CHARS: usize = 160;

/// How a run ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// It did what it should, and found nothing wrong.
    Good,
    /// It did what it should, and what it made or found has to be called a failure: a suspicious backup, a failed proof.
    Bad(&'a Error),
    /// It failed. An error of kind `Cancelled` is nobody's failure and tells nothing.
    Failed(&'a Error),
}

impl<'a> Outcome<'a> {
    /// Of a use case's result; `failure`: what its report has to be called, as `BackupReport::failure` says it.
    pub fn of<T>(result: &'a Result<T, Error>, failure: Option<&'a Error>) -> Self {
        match (result, failure) {
            (Err(error), _) => Self::Failed(error),
            (Ok(_), Some(failure)) => Self::Bad(failure),
            (Ok(_), None) => Self::Good,
        }
    }
}

/// A run that has ended.
#[derive(Debug, Clone, Copy)]
pub struct RunEnd<'a> {
    /// What it did.
    pub kind: RunKind,
    /// Its id, if it is known.
    pub run: Option<&'a RunId>,
    /// The backup that it made or verified, if there is one.
    pub backup: Option<&'a BackupId>,
    /// How it ended.
    pub outcome: Outcome<'a>,
    /// Its last lines, see [`super::Tail`]; sent to the heartbeat when it failed.
    pub tail: Option<&'a str>,
}

/// Something that people may be told.
#[derive(Debug, Clone)]
pub struct Event {
    pub(super) kind: NotifyEvent,
    /// The topic that it opens; for a recovery, those that it closes.
    pub(super) topics: Vec<Topic>,
    pub(super) title: String,
    pub(super) detail: String,
    pub(super) hint: Option<String>,
    pub(super) run: Option<RunId>,
    pub(super) backup: Option<BackupId>,
    pub(super) cause: String,
}

impl Event {
    fn problem(kind: NotifyEvent, topic: Topic, title: impl Into<String>, detail: impl Into<String>) -> Self {
        let (title, detail) = (title.into(), detail.into());
        let cause = cause(&format!("{} {detail}", kind.as_str()));
        Self { kind, topics: vec![topic], title, detail, hint: None, run: None, backup: None, cause }
    }

    fn recovery(topics: Vec<Topic>, title: &str) -> Self {
        let (title, detail, cause) = (title.to_owned(), String::new(), String::new());
        Self { kind: NotifyEvent::Recovery, topics, title, detail, hint: None, run: None, backup: None, cause }
    }

    /// Words alone, for what is no event of a policy.
    pub(super) fn plain(title: &str, detail: &str) -> Self {
        Self { detail: detail.to_owned(), ..Self::recovery(Vec::new(), title) }
    }

    /// The newest good backup is older than the promise; `age`: `None` when there is no good backup at all.
    pub fn stale(age: Option<Duration>, max_age: Duration) -> Self {
        let promise = format!("the promise is {}", format_duration(max_age));
        let (title, detail) = match age {
            Some(age) => {
                let age = format_duration(age);
                (format!("the newest good backup shows {age} ago"), format!("A restore would lose the last {age}; {promise}."))
            }
            None => ("there is no good backup".to_owned(), format!("Nothing could be restored; {promise}.")),
        };
        let mut event = Self::problem(NotifyEvent::Stale, Topic::Age, title, detail);
        event.hint = Some("`pgkeep status` says why; `pgkeep backup` makes one now".to_owned());
        event
    }

    /// The promise is kept. Told only after [`Event::stale`] was.
    pub fn fresh() -> Self {
        Self::recovery(vec![Topic::Age], "the newest good backup is as young as promised again")
    }

    /// What the end of a run tells; `None` for one that was cancelled, and for restores, which somebody is watching.
    pub fn of_run(end: &RunEnd<'_>) -> Option<Self> {
        let mut event = match (end.kind, end.outcome) {
            (RunKind::Restore, _) => return None,
            (kind, Outcome::Good) => Self::good(kind),
            (_, Outcome::Bad(error) | Outcome::Failed(error)) if error.kind() == Kind::Cancelled => return None,
            (kind, Outcome::Bad(error)) => Self::bad(kind, error),
            (kind, Outcome::Failed(error)) => Self::failed(kind, error),
        };
        event.run = end.run.cloned();
        event.backup = end.backup.cloned();
        Some(event)
    }

    fn good(kind: RunKind) -> Self {
        match kind {
            RunKind::Verify => Self::recovery(vec![Topic::Verification], "verification passes again"),
            RunKind::Prune => Self::recovery(vec![Topic::Prune], "old backups are removed again"),
            // A good backup is also a young one: one message says both.
            RunKind::Backup | RunKind::Restore => Self::recovery(vec![Topic::Backup, Topic::Age], "backups work again"),
        }
    }

    fn bad(kind: RunKind, error: &Error) -> Self {
        match kind {
            RunKind::Verify => Self::of_error(NotifyEvent::Verification, Topic::Verification, "verification failed", error),
            RunKind::Prune => Self::of_error(NotifyEvent::Unpruned, Topic::Prune, "old backups were not removed", error),
            RunKind::Backup | RunKind::Restore => {
                Self::of_error(NotifyEvent::Anomaly, Topic::Backup, "the new backup is suspicious", error)
            }
        }
    }

    fn failed(kind: RunKind, error: &Error) -> Self {
        if LeaseLost::marks(error) {
            let topic = match kind {
                RunKind::Verify => Topic::Verification,
                RunKind::Prune => Topic::Prune,
                RunKind::Backup | RunKind::Restore => Topic::Backup,
            };
            return Self::of_error(NotifyEvent::LeaseLost, topic, "a run lost its lease and withdrew", error);
        }
        match kind {
            RunKind::Verify => {
                Self::of_error(NotifyEvent::Verification, Topic::Verification, "verification could not be done", error)
            }
            RunKind::Prune => Self::of_error(NotifyEvent::Unpruned, Topic::Prune, "old backups were not removed", error),
            RunKind::Backup | RunKind::Restore => Self::of_error(NotifyEvent::Failure, Topic::Backup, "backup failed", error),
        }
    }

    fn of_error(kind: NotifyEvent, topic: Topic, title: &str, error: &Error) -> Self {
        let mut event = Self::problem(kind, topic, title, error.full_message());
        event.hint = error.hint_text().map(str::to_owned);
        event
    }

    /// Which event of `[notify] on` it is.
    pub fn kind(&self) -> NotifyEvent {
        self.kind
    }
}

/// What was wrong, without the words that differ from run to run: ids, times, ports, sizes.
fn cause(text: &str) -> String {
    let words = text.split_whitespace().map(|word| if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(CAUSE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(kind: RunKind, outcome: Outcome<'_>) -> RunEnd<'_> {
        RunEnd { kind, run: None, backup: None, outcome, tail: None }
    }

    #[test]
    fn each_end_of_a_run_is_one_event() {
        let error = Error::denied("no");
        let lost = Error::conflict("lost the lease of x").source(LeaseLost).context("backup");
        for (kind, outcome, told) in [
            (RunKind::Backup, Outcome::Good, Some((NotifyEvent::Recovery, vec![Topic::Backup, Topic::Age]))),
            (RunKind::Backup, Outcome::Failed(&error), Some((NotifyEvent::Failure, vec![Topic::Backup]))),
            (RunKind::Backup, Outcome::Bad(&error), Some((NotifyEvent::Anomaly, vec![Topic::Backup]))),
            (RunKind::Backup, Outcome::Failed(&lost), Some((NotifyEvent::LeaseLost, vec![Topic::Backup]))),
            (RunKind::Verify, Outcome::Bad(&error), Some((NotifyEvent::Verification, vec![Topic::Verification]))),
            (RunKind::Verify, Outcome::Failed(&error), Some((NotifyEvent::Verification, vec![Topic::Verification]))),
            (RunKind::Prune, Outcome::Failed(&error), Some((NotifyEvent::Unpruned, vec![Topic::Prune]))),
            (RunKind::Prune, Outcome::Good, Some((NotifyEvent::Recovery, vec![Topic::Prune]))),
            (RunKind::Restore, Outcome::Failed(&error), None),
            (RunKind::Backup, Outcome::Failed(&Error::cancelled("interrupted")), None),
        ] {
            let event = Event::of_run(&end(kind, outcome));
            assert_eq!(event.map(|e| (e.kind, e.topics)), told, "{kind:?} {outcome:?}");
        }
    }

    #[test]
    fn causes_differ_by_words_and_not_by_numbers() {
        let a = cause("failure backup 20261122T021500Z-7f3a: connect to 10.0.0.1:5432: refused");
        assert_eq!(a, cause("failure backup 20261123T021500Z-0001: connect to 10.0.0.2:5433: refused"));
        assert_ne!(a, cause("failure backup 20261122T021500Z-7f3a: connect to 10.0.0.1:5432: timed out"));
    }
}
