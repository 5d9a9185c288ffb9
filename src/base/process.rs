//! Identity of a process, so that the death of another one can be proven.

use std::{fs, io};

/// This process: the machine's boot, the namespace of process ids, the id, and when it started; `None` where the kernel does not tell.
pub fn own() -> Option<String> {
    let pid = std::process::id();
    Some(format!("{} {} {pid} {}", boot()?, namespace()?, start_time(pid)?))
}

/// Whether the process of this identity is known to have ended. False wherever it cannot be known: another machine, another container,
/// a `/proc` that hides the processes of other users.
pub fn is_dead(identity: &str) -> bool {
    let fields: Vec<&str> = identity.split(' ').collect();
    let [its_boot, its_namespace, pid, started] = fields.as_slice() else { return false };
    let (Some(boot), Some(namespace), Ok(pid)) = (boot(), namespace(), pid.parse()) else { return false };
    boot == *its_boot && namespace == *its_namespace && has_ended(&stat(1), &stat(pid), started)
}

/// Judges by what reading `/proc/1/stat` and the process's own file gave. With `hidepid` or `ProtectProc=invisible` a process of another
/// user looks like none at all; but then process 1 cannot be seen either.
fn has_ended(first: &io::Result<String>, its: &io::Result<String>, started: &str) -> bool {
    match its {
        Ok(stat) => match state_and_start(stat) {
            Some(("Z" | "X", _)) => true,
            Some((_, now)) => now != started,
            None => false,
        },
        Err(e) => e.kind() == io::ErrorKind::NotFound && first.is_ok(),
    }
}

/// Kills every process of the group that the process `leader` leads. One that is gone already is no error.
pub fn kill_group(leader: u32) {
    use rustix::process::{Pid, Signal, kill_process_group};
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn boot() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Process ids mean nothing outside their namespace: containers that share a host name do not share it.
fn namespace() -> Option<String> {
    Some(fs::read_link("/proc/self/ns/pid").ok()?.to_string_lossy().into_owned())
}

fn stat(pid: u32) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{pid}/stat"))
}

fn start_time(pid: u32) -> Option<String> {
    state_and_start(&stat(pid).ok()?).map(|(_, start)| start.to_owned())
}

/// State and field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)), counted after the command's closing parenthesis. A zombie has ended.
fn state_and_start(stat: &str) -> Option<(&str, &str)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.first()?, fields.get(19)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_ended_here_is_dead() {
        let own = own().expect("Linux tells");
        assert!(!is_dead(&own), "we live");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("start a process");
        let fields: Vec<&str> = own.split(' ').collect();
        let its = format!("{} {} {} {}", fields[0], fields[1], child.id(), start_time(child.id()).expect("it runs"));
        assert!(!is_dead(&its), "it runs");
        child.kill().expect("kill");
        assert!(!fields[0].is_empty());
        child.wait().expect("wait");
        assert!(is_dead(&its), "it was killed");
        let reused = format!("{} {} {} 1", fields[0], fields[1], fields[2]);
        assert!(is_dead(&reused), "the id belongs to somebody else by now");
        let elsewhere = format!("another-boot {} {} {}", fields[1], fields[2], fields[3]);
        assert!(!is_dead(&elsewhere), "nothing is known of another machine");
        assert!(!is_dead("") && !is_dead("a b c"));
    }

    #[test]
    fn a_process_that_cannot_be_seen_is_not_dead() {
        let running = |start: &str| Ok(format!("7 (a) b) S {}{start} 0", "0 ".repeat(18)));
        let failed = |kind: io::ErrorKind| Err::<String, _>(io::Error::from(kind));
        assert!(!has_ended(&running("1"), &running("5"), "5"));
        assert!(has_ended(&running("1"), &running("6"), "5"), "the id belongs to somebody else");
        assert!(has_ended(&running("1"), &failed(io::ErrorKind::NotFound), "5"));
        assert!(!has_ended(&failed(io::ErrorKind::NotFound), &failed(io::ErrorKind::NotFound), "5"), "all of others is hidden");
        assert!(!has_ended(&running("1"), &failed(io::ErrorKind::PermissionDenied), "5"));
        assert!(!has_ended(&running("1"), &Ok("garbage".to_owned()), "5"));
    }
}
