//! Each policy's promise: how old the newest backup is, whether it is proven, who may write, what comes next.

use super::{Metric, Samples, View, flag, seconds};
use crate::daemon::state::SlotState;
use crate::jobs::health::PolicyStatus;
use crate::repo::runs::RunKind;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "pgkeep_policy_healthy",
        labels: &["policy"],
        help: "1 if the policy keeps its promise; 0: `pgkeep status` says why, or nothing is known of the vault",
        samples: |v, out| out.each(v, |p| p.keeps_promise(v.now).map(flag)),
    },
    Metric {
        name: "pgkeep_policy_checked_timestamp_seconds",
        labels: &["policy"],
        help: "When the vault was last read to judge the policy's health",
        samples: |v, out| out.each(v, |p| p.checked_at.map(seconds)),
    },
    Metric {
        name: "pgkeep_vault_readable",
        labels: &["policy"],
        help: "0 if the store could not be read when it was last tried",
        samples: |v, out| out.each(v, |p| (p.checked_at.is_some() || p.error.is_some()).then(|| flag(p.error.is_none()))),
    },
    Metric {
        name: "pgkeep_backups",
        labels: &["policy"],
        help: "Backups in the vault",
        samples: |v, out| status(v, out, |s| Some(s.backups as f64)),
    },
    Metric {
        name: "pgkeep_last_backup_timestamp_seconds",
        labels: &["policy"],
        help: "The instant that the newest good backup shows: the latest to which one can go back",
        samples: |v, out| status(v, out, |s| s.consistent_at.map(seconds)),
    },
    Metric {
        name: "pgkeep_backup_age_seconds",
        labels: &["policy"],
        help: "Time since that instant",
        samples: |v, out| out.each(v, |p| p.age(v.now).map(|age| age.as_secs_f64())),
    },
    Metric {
        name: "pgkeep_backup_max_age_seconds",
        labels: &["policy"],
        help: "The promise: `max_age` of the policy's `[health]`",
        samples: |v, out| out.each(v, |p| p.max_age_seconds.map(|s| s as f64)),
    },
    Metric {
        name: "pgkeep_last_proof_timestamp_seconds",
        labels: &["policy"],
        help: "When the last restore drill that passed ended",
        samples: |v, out| status(v, out, |s| s.last_proof_at.map(seconds)),
    },
    Metric {
        name: "pgkeep_last_proof_restore_seconds",
        labels: &["policy"],
        help: "How long that drill's restore took: what to expect of a real one",
        samples: |v, out| status(v, out, |s| s.restore_seconds),
    },
    Metric {
        name: "pgkeep_lease",
        labels: &["policy", "holder"],
        help: "1 for who holds the vault's lease, as last seen: `nobody`, `us` (this daemon) or `other`; 0 for the others",
        samples: lease,
    },
    Metric {
        name: "pgkeep_next_run_timestamp_seconds",
        labels: &["policy", "kind"],
        help: "When the next run by schedule starts, or the present slot is tried again; `kind` is `backup` or `verify`",
        samples: |v, out| slots(v, out, |s| s.starts_at.or(s.next).map(seconds)),
    },
    Metric {
        name: "pgkeep_slots_missed",
        labels: &["policy", "kind"],
        help: "Slots before the one that is due that no run covers; one run will cover them all",
        samples: |v, out| slots(v, out, |s| Some(s.missed as f64)),
    },
    Metric {
        name: "pgkeep_slot_failed_attempts",
        labels: &["policy", "kind"],
        help: "Runs for the slot that is due and not covered that failed",
        samples: |v, out| slots(v, out, |s| Some(f64::from(s.failed_attempts))),
    },
    Metric {
        name: "pgkeep_slot_given_up",
        labels: &["policy", "kind"],
        help: "1 if the slot that is due is not tried again: its retries are used up, or a retry cannot help",
        samples: |v, out| slots(v, out, |s| Some(flag(s.given_up.is_some()))),
    },
    Metric {
        name: "pgkeep_notifications_pending",
        labels: &["policy"],
        help: "Notifications that could not be sent and will be tried again",
        samples: |v, out| out.each(v, |p| Some(p.notifications_pending as f64)),
    },
    Metric {
        name: "pgkeep_notifications_failed_total",
        labels: &["policy"],
        help: "Notifications that were given up",
        samples: |v, out| out.each(v, |p| Some(p.notifications_failed as f64)),
    },
];

fn status(view: &View, out: &mut Samples, value: fn(&PolicyStatus) -> Option<f64>) {
    out.each(view, |p| p.status.as_ref().and_then(value));
}

fn lease(view: &View, out: &mut Samples) {
    for (name, policy) in &view.state.policies {
        if policy.checked_at.is_none() {
            continue;
        }
        let ours = policy.lease.as_ref().map(|holder| holder.ours);
        for (holder, is) in [("nobody", ours.is_none()), ("us", ours == Some(true)), ("other", ours == Some(false))] {
            out.push(&[name, holder], flag(is));
        }
    }
}

fn slots(view: &View, out: &mut Samples, value: fn(&SlotState) -> Option<f64>) {
    for (name, policy) in &view.state.policies {
        for (kind, slot) in [(RunKind::Backup, &policy.backup), (RunKind::Verify, &policy.verify)] {
            if let Some(value) = slot.as_ref().and_then(value) {
                out.push(&[name, kind.name()], value);
            }
        }
    }
}
