//! Whether there is something to say: a pure function of what was said last.

use jiff::Timestamp;

use crate::base::clock::elapsed;
use crate::base::limits::{NOTIFY_CAUSES, NOTIFY_REMINDERS};
use crate::policy::model::NotifyEvent;
use crate::repo::notices::{Notice, Topic};

/// A topic's state after the message that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) open: bool,
    pub(super) since: Timestamp,
    pub(super) told: u32,
    pub(super) reminders: u32,
    pub(super) causes: Vec<String>,
}

/// What an event of `topic` adds to `last`, the last message about it; `None`: nothing that is worth a message.
///
/// The first failure is told, and each cause that is new since then; what is known already is repeated after growing pauses. A backup
/// that is too old is told once. A recovery is told only where there was something to recover from.
pub(super) fn decide(last: Option<&Notice>, kind: NotifyEvent, topic: Topic, cause: &str, now: Timestamp) -> Option<Standing> {
    let open = last.filter(|n| n.open);
    if kind == NotifyEvent::Recovery {
        return open.map(|n| Standing { open: false, told: n.told + 1, ..standing(n) });
    }
    let Some(last) = open else {
        return Some(Standing { open: true, since: now, told: 1, reminders: 0, causes: vec![cause.to_owned()] });
    };
    if topic == Topic::Age {
        return None;
    }
    let mut next = standing(last);
    next.told += 1;
    if !next.causes.iter().any(|c| c == cause) && next.causes.len() < NOTIFY_CAUSES {
        next.causes.push(cause.to_owned());
        return Some(next);
    }
    next.reminders += 1;
    is_due(last, now).then_some(next)
}

fn standing(n: &Notice) -> Standing {
    Standing { open: n.open, since: n.since, told: n.told, reminders: n.reminders, causes: n.causes.clone() }
}

/// Whether the pause after `last` is over. One from a future farther away than clocks differ was written by a clock that was wrong.
fn is_due(last: &Notice, now: Timestamp) -> bool {
    let pause = NOTIFY_REMINDERS[(last.reminders as usize).min(NOTIFY_REMINDERS.len() - 1)];
    elapsed(last.at, now) >= pause || elapsed(now, last.at) > NOTIFY_REMINDERS[0]
}
