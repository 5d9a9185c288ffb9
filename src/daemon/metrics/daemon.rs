//! The daemon itself.

use super::{Metric, flag, seconds};
use crate::daemon::state::Reload;

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "pgkeep_build_info",
        labels: &["version"],
        help: "1; the label is pgkeep's version",
        samples: |v, out| out.push(&[v.state.version], 1.0),
    },
    Metric {
        name: "pgkeep_ready",
        labels: &[],
        help: "1 while policies are loaded, the scheduler's loop goes round and nobody asked the daemon to stop: what `/ready` says",
        samples: |v, out| out.push(&[], flag(v.state.not_ready(v.now).is_empty())),
    },
    Metric {
        name: "pgkeep_alive_timestamp_seconds",
        labels: &[],
        help: "When the scheduler's loop last went round; older than two minutes: it hangs",
        samples: |v, out| out.push(&[], seconds(v.state.alive_at)),
    },
    Metric {
        name: "pgkeep_policies",
        labels: &[],
        help: "Policies in force",
        samples: |v, out| out.push(&[], v.state.policies.len() as f64),
    },
    Metric {
        name: "pgkeep_policies_reload_ok",
        labels: &[],
        help: "1 if the policy files were good when they were last read, at start or by SIGHUP; 0: those loaded before stay in force",
        samples: |v, out| out.0.extend(v.state.reload.iter().map(|r| (Vec::new(), flag(r.ok)))),
    },
    Metric {
        name: "pgkeep_policies_reload_timestamp_seconds",
        labels: &[],
        help: "When the policy files were last read",
        samples: |v, out| out.0.extend(v.state.reload.iter().map(|r| (Vec::new(), seconds(r.at)))),
    },
    Metric {
        name: "pgkeep_policies_loaded_timestamp_seconds",
        labels: &[],
        help: "When the policies in force were read",
        samples: |v, out| {
            let loaded = v.state.reload.as_ref().and_then(|r: &Reload| r.loaded_at);
            out.0.extend(loaded.map(|at| (Vec::new(), seconds(at))));
        },
    },
    Metric {
        name: "pgkeep_runs_active",
        labels: &[],
        help: "Runs that go on in this daemon",
        samples: |v, out| out.push(&[], v.state.policies.values().filter(|p| p.current.is_some()).count() as f64),
    },
    Metric {
        name: "pgkeep_runs_max",
        labels: &[],
        help: "Runs that may go on at the same time (`--max-runs`)",
        samples: |v, out| out.push(&[], v.state.max_runs as f64),
    },
    Metric {
        name: "pgkeep_queue_length",
        labels: &[],
        help: "Policies whose run waits because as many as may go on do",
        samples: |v, out| out.push(&[], v.state.queue.len() as f64),
    },
];
