//! How much memory a throwaway server may take: a part of what the machine, or the container that we are in, has left.

use std::fs;

/// No server starts sensibly with less.
const LEAST: u64 = 128 << 20;
/// What a drill gains by more is not worth taking it from the others on the machine.
const MOST: u64 = 512 << 20;

/// `shared_buffers` in bytes: a sixteenth of the memory that is available. Each session of a restore takes its share of as much again for its indexes.
pub(super) fn shared_buffers() -> u64 {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    (available(&read("/proc/meminfo"), &read("/sys/fs/cgroup/memory.max")) / 16).clamp(LEAST, MOST)
}

/// Available memory in bytes by `/proc/meminfo`, at most the limit of the control group, if it has one.
fn available(meminfo: &str, limit: &str) -> u64 {
    let kilobytes = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    let machine = kilobytes.unwrap_or(0u64).saturating_mul(1024);
    limit.trim().parse().map_or(machine, |limit: u64| machine.min(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_machine_and_container_counts() {
        let meminfo = "MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:   16000000 kB\n";
        assert_eq!(available(meminfo, "max\n"), 16_384_000_000);
        assert_eq!(available(meminfo, ""), 16_384_000_000);
        assert_eq!(available(meminfo, "1073741824\n"), 1 << 30);
        assert_eq!(available("", "max"), 0);
        assert!((LEAST..=MOST).contains(&shared_buffers()));
    }
}
