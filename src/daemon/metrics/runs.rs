//! Runs: those of this daemon, the one that goes on, and the last of each kind, whoever made it.

use super::{Metric, Samples, View, flag, seconds};
use crate::base::clock::elapsed;
use crate::repo::head::Counts;
use crate::repo::runs::{Run, RunKind, RunState};

/// What the daemon runs.
const KINDS: [RunKind; 3] = [RunKind::Backup, RunKind::Verify, RunKind::Prune];
const RESULTS: [RunState; 3] = [RunState::Succeeded, RunState::Failed, RunState::Cancelled];

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "pgkeep_runs_total",
        labels: &["policy", "kind", "result"],
        help: "Runs of this daemon that ended; `kind` is `backup`, `verify` or `prune`, `result` is `succeeded`, `failed` or `cancelled`",
        samples: counts,
    },
    Metric {
        name: "pgkeep_run_retries_total",
        labels: &["policy"],
        help: "Runs by schedule of this daemon that were tries after a failed one",
        samples: |v, out| out.each(v, |p| Some(p.retries as f64)),
    },
    Metric {
        name: "pgkeep_run_active",
        labels: &["policy", "kind"],
        help: "1 while a run goes on in this daemon",
        samples: active,
    },
    Metric {
        name: "pgkeep_run_started_timestamp_seconds",
        labels: &["policy", "kind"],
        help: "When the run that goes on began",
        samples: |v, out| current(v, out, |r| seconds(r.started_at)),
    },
    Metric {
        name: "pgkeep_run_progress_timestamp_seconds",
        labels: &["policy", "kind"],
        help: "When the run that goes on last moved",
        samples: |v, out| current(v, out, |r| seconds(r.progress_at)),
    },
    Metric {
        name: "pgkeep_run_stage_bytes",
        labels: &["policy", "kind", "stage"],
        help: "Bytes done in the present stage of the run that goes on",
        samples: |v, out| {
            for (name, run) in v.state.policies.iter().filter_map(|(name, p)| Some((name, p.current.as_ref()?))) {
                out.push(&[name, run.kind.name(), &run.stage], run.bytes as f64);
            }
        },
    },
    Metric {
        name: "pgkeep_last_success_timestamp_seconds",
        labels: &["policy"],
        help: "When the last backup run that succeeded ended",
        samples: |v, out| out.each(v, |p| p.last_success.as_ref()?.finished_at.map(seconds)),
    },
    Metric {
        name: "pgkeep_last_run_timestamp_seconds",
        labels: &["policy", "kind"],
        help: "When the last run ended; those of `restore` are there, too",
        samples: |v, out| last(v, out, |r| r.finished_at.map(seconds)),
    },
    Metric {
        name: "pgkeep_last_run_ok",
        labels: &["policy", "kind"],
        help: "1 if the last run succeeded",
        samples: |v, out| last(v, out, |r| Some(flag(r.state == RunState::Succeeded))),
    },
    Metric {
        name: "pgkeep_last_run_duration_seconds",
        labels: &["policy", "kind"],
        help: "How long the last run took",
        samples: |v, out| last(v, out, |r| r.finished_at.map(|end| elapsed(r.started_at, end).as_secs_f64())),
    },
    Metric {
        name: "pgkeep_last_run_stage_seconds",
        labels: &["policy", "kind", "stage"],
        help: "How long a stage of the last run took",
        samples: |v, out| stages(v, out, |stage| stage.seconds),
    },
    Metric {
        name: "pgkeep_last_run_stage_bytes",
        labels: &["policy", "kind", "stage"],
        help: "Bytes that went through a stage of the last run",
        samples: |v, out| stages(v, out, |stage| stage.bytes as f64),
    },
    Metric {
        name: "pgkeep_last_backup_plain_bytes",
        labels: &["policy"],
        help: "Bytes of COPY text in the last backup",
        samples: |v, out| backup(v, out, |c| c.plain_bytes),
    },
    Metric {
        name: "pgkeep_last_backup_stored_bytes",
        labels: &["policy"],
        help: "Bytes of the objects in the store that make up the last backup",
        samples: |v, out| backup(v, out, |c| c.stored_bytes),
    },
    Metric {
        name: "pgkeep_last_backup_new_stored_bytes",
        labels: &["policy"],
        help: "Those of them that its run sent",
        samples: |v, out| backup(v, out, |c| c.new_stored_bytes),
    },
    Metric {
        name: "pgkeep_last_backup_parts",
        labels: &["policy"],
        help: "Parts of the last backup",
        samples: |v, out| backup(v, out, |c| c.parts),
    },
    Metric {
        name: "pgkeep_last_backup_new_parts",
        labels: &["policy"],
        help: "Those of them that its run sent",
        samples: |v, out| backup(v, out, |c| c.new_parts),
    },
    Metric {
        name: "pgkeep_last_backup_reused_parts",
        labels: &["policy"],
        help: "Those of them that were there already",
        samples: |v, out| backup(v, out, |c| c.parts.saturating_sub(c.new_parts)),
    },
    Metric {
        name: "pgkeep_last_backup_rows",
        labels: &["policy"],
        help: "Rows in the last backup",
        samples: |v, out| backup(v, out, |c| c.rows),
    },
    Metric {
        name: "pgkeep_last_backup_tables",
        labels: &["policy"],
        help: "Tables in the last backup",
        samples: |v, out| backup(v, out, |c| c.tables),
    },
    Metric {
        name: "pgkeep_last_backup_objects",
        labels: &["policy"],
        help: "Objects in the last backup",
        samples: |v, out| backup(v, out, |c| c.objects),
    },
];

/// Zeros too, so that the first failure is an increase.
fn counts(view: &View, out: &mut Samples) {
    for (name, policy) in &view.state.policies {
        for (kind, result) in KINDS.into_iter().flat_map(|kind| RESULTS.map(|result| (kind, result))) {
            let counted = policy.runs.iter().find(|r| r.kind == kind && r.state == result).map_or(0, |r| r.count);
            out.push(&[name, kind.name(), result.name()], counted as f64);
        }
    }
}

fn active(view: &View, out: &mut Samples) {
    for (name, policy) in &view.state.policies {
        for kind in KINDS {
            out.push(&[name, kind.name()], flag(policy.current.as_ref().is_some_and(|r| r.kind == kind)));
        }
    }
}

fn current(view: &View, out: &mut Samples, value: fn(&crate::daemon::state::CurrentRun) -> f64) {
    for (name, policy) in &view.state.policies {
        if let Some(run) = &policy.current {
            out.push(&[name, run.kind.name()], value(run));
        }
    }
}

fn last(view: &View, out: &mut Samples, value: fn(&Run) -> Option<f64>) {
    for (name, policy) in &view.state.policies {
        for (kind, run) in &policy.last {
            if let Some(value) = value(run) {
                out.push(&[name, kind.name()], value);
            }
        }
    }
}

/// A stage that a run goes through more than once is one sample.
fn stages(view: &View, out: &mut Samples, value: fn(&crate::repo::runs::RunStage) -> f64) {
    for (name, policy) in &view.state.policies {
        for (kind, run) in &policy.last {
            let mut sums: Vec<(&str, f64)> = Vec::new();
            for stage in &run.stages {
                match sums.iter_mut().find(|(name, _)| *name == stage.name) {
                    Some((_, sum)) => *sum += value(stage),
                    None => sums.push((&stage.name, value(stage))),
                }
            }
            for (stage, sum) in sums {
                out.push(&[name, kind.name(), stage], sum);
            }
        }
    }
}

fn backup(view: &View, out: &mut Samples, value: fn(&Counts) -> u64) {
    out.each(view, |p| {
        let counts: Counts = serde_json::from_value(p.last_success.as_ref()?.stats.clone()).ok()?;
        Some(value(&counts) as f64)
    });
}
