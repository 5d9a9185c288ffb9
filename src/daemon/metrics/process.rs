//! This process, under the names that every Prometheus client uses.

use std::fs;

use super::{Metric, seconds};

/// The kernel counts processor time in this unit, on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// What the kernel says of this process; `None` where it does not.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessStats {
    /// Bytes of memory in use.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// File descriptors that may be open.
    pub max_fds: Option<u64>,
    /// Seconds of processor time, user's and system's.
    pub cpu_seconds: Option<f64>,
}

impl ProcessStats {
    /// Reads `/proc/self`.
    pub fn read() -> Self {
        let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        Self {
            resident_bytes: field("/proc/self/status", "VmRSS:").map(|kib| kib * 1024),
            // One of them is the folder that is being read.
            open_fds: open.map(|count| count.saturating_sub(1)),
            max_fds: field("/proc/self/limits", "Max open files"),
            cpu_seconds: cpu_seconds(),
        }
    }
}

/// The first number of the line that begins with `name`.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15 of `/proc/self/stat` (proc_pid_stat(5)), counted after the command's closing parenthesis.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

pub(super) const METRICS: &[Metric] = &[
    Metric {
        name: "process_start_time_seconds",
        labels: &[],
        help: "When the daemon started",
        samples: |v, out| out.push(&[], seconds(v.state.started_at)),
    },
    Metric {
        name: "process_resident_memory_bytes",
        labels: &[],
        help: "Memory in use",
        samples: |v, out| out.0.extend(v.process.resident_bytes.map(|n| (Vec::new(), n as f64))),
    },
    Metric {
        name: "process_open_fds",
        labels: &[],
        help: "Open file descriptors",
        samples: |v, out| out.0.extend(v.process.open_fds.map(|n| (Vec::new(), n as f64))),
    },
    Metric {
        name: "process_max_fds",
        labels: &[],
        help: "File descriptors that may be open",
        samples: |v, out| out.0.extend(v.process.max_fds.map(|n| (Vec::new(), n as f64))),
    },
    Metric {
        name: "process_cpu_seconds_total",
        labels: &[],
        help: "Processor time, user's and system's",
        samples: |v, out| out.0.extend(v.process.cpu_seconds.map(|n| (Vec::new(), n))),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells() {
        let stats = ProcessStats::read();
        assert!(stats.resident_bytes.expect("memory") > 1 << 20, "{stats:?}");
        assert!(stats.open_fds.expect("open") >= 3 && stats.max_fds.expect("limit") > stats.open_fds.expect("open"), "{stats:?}");
        assert!(stats.cpu_seconds.expect("time") >= 0.0);
    }
}
