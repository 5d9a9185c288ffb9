//! A server process of our own: its files in a private temporary folder, reachable through a Unix socket there and nowhere else.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{Needs, binaries, connection, memory};
use crate::base::ids::random_hex;
use crate::base::{Error, Result, process};
use crate::pg::connect::Target;

const PREFIX: &str = "pgkeep-drill-";
/// File in the folder with the identity of the process that made it.
const OWNER: &str = "pgkeep-process";
const PORT: u16 = 5432;

/// Settings of a server whose data nobody will miss: no durability, no listener, no archiving, no background work on the rows.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "wal_skip_threshold=0",
    "max_wal_size=8GB",
    "checkpoint_timeout=1h",
    "bgwriter_lru_maxpages=0",
    "archive_mode=off",
    "autovacuum=off",
    "max_connections=50",
    "max_locks_per_transaction=1024",
    "max_logical_replication_workers=0",
    "logging_collector=off",
    "log_min_messages=fatal",
    "jit=off",
];

/// The user that runs the server; PostgreSQL refuses to run as root.
#[derive(Debug, Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

/// A running server; dropping it kills the process and removes its files.
#[derive(Debug)]
pub(super) struct LocalServer {
    bin: PathBuf,
    account: Option<Account>,
    process: Mutex<Child>,
    folder: TempDir,
}

impl LocalServer {
    /// `initdb`, then `postgres`. Does not wait until it answers.
    pub(super) async fn start(needs: &Needs) -> Result<(Target, Self)> {
        let bin = binaries::find(needs.major).await?;
        let account = account()?;
        let base = std::env::temp_dir();
        remove_leftovers(&base);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&base)
            .map_err(|e| Error::denied(format!("make a folder for the throwaway server in {}", base.display())).source(e))?;
        if let Some(owner) = process::own() {
            fs::write(folder.path().join(OWNER), owner)
                .map_err(|e| Error::denied("write whose folder the throwaway server's is").source(e))?;
        }
        prepare(folder.path(), account)?;
        let password = random_hex(16);
        init(&bin, account, folder.path(), &needs.superuser, &password).await?;
        let mut command = command(&bin, "postgres", account);
        command.arg("-D").arg(folder.path().join("data")).arg("-p").arg(PORT.to_string());
        command.arg("-c").arg(format!("unix_socket_directories={}", folder.path().display()));
        command.arg("-c").arg(format!("shared_buffers={}kB", memory::shared_buffers() / 1024));
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        let log = fs::File::create(folder.path().join("log"))
            .map_err(|e| Error::denied("create the throwaway server's log").source(e))?;
        command.stdout(Stdio::null()).stderr(log).stdin(Stdio::null()).kill_on_drop(true);
        let process =
            command.spawn().map_err(|e| Error::denied(format!("start {}", bin.join("postgres").display())).source(e))?;
        let host = folder.path().to_string_lossy().into_owned();
        let target = Target::parse(&connection(&host, PORT, &needs.superuser, &password))?;
        Ok((target, Self { bin, account, process: Mutex::new(process), folder }))
    }

    /// Fails with the server's own words if the process has ended.
    pub(super) fn check_alive(&self) -> Result<()> {
        let mut process = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match process.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(Error::denied(format!("the throwaway server did not start: {}", tail(&self.folder.path().join("log"))))),
        }
    }

    /// Ends the server at once; nobody needs its data.
    pub(super) async fn stop(self) -> Result<()> {
        let data = self.folder.path().join("data");
        let ended = command(&self.bin, "pg_ctl", self.account)
            .args(["stop", "-w", "-m", "immediate", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await;
        let mut process = self.process.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !ended.is_ok_and(|s| s.success()) {
            let _ = process.start_kill();
        }
        let _ = process.wait().await;
        self.folder.close().map_err(|e| Error::denied("remove the throwaway server's files").source(e))
    }
}

fn command(bin: &Path, program: &str, account: Option<Account>) -> Command {
    let mut command = Command::new(bin.join(program));
    // Nothing of the caller's environment may steer the server: PGDATA, PGOPTIONS, LC_*.
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
    for variable in ["LD_LIBRARY_PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(variable) {
            command.env(variable, value);
        }
    }
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command.current_dir("/");
    command
}

async fn init(bin: &Path, account: Option<Account>, folder: &Path, superuser: &str, password: &str) -> Result<()> {
    let file = folder.join("password");
    fs::write(&file, format!("{password}\n")).map_err(|e| Error::denied("write the throwaway server's password").source(e))?;
    own(&file, account, 0o600)?;
    let output = command(bin, "initdb", account)
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-N", "-E", "UTF8", "--locale=C", "-A", "scram-sha-256", "-U", superuser])
        .arg(format!("--pwfile={}", file.display()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| Error::denied(format!("run {}", bin.join("initdb").display())).source(e))?;
    let _ = fs::remove_file(&file);
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::denied(format!("initdb for the throwaway server failed: {}", said.trim().lines().last().unwrap_or("no message")))
        .hint(format!(
            "{} must be writable, with room for the restored database; TMPDIR chooses another place",
            folder.display()
        )))
}

/// `None` when we may run a server as ourselves.
fn account() -> Result<Option<Account>> {
    if !is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(|e| Error::denied("read /etc/passwd").source(e))?;
    let find = |name: &str| {
        users
            .lines()
            .map(|l| l.split(':').collect::<Vec<_>>())
            .find(|f| f.first() == Some(&name))
            .and_then(|f| Some(Account { uid: f.get(2)?.parse().ok()?, gid: f.get(3)?.parse().ok()? }))
    };
    find("postgres").or_else(|| find("nobody")).map(Some).ok_or_else(|| {
        Error::unsupported(
            "PostgreSQL does not run as root, and there is neither a user postgres nor nobody to run the throwaway server as",
        )
    })
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn prepare(folder: &Path, account: Option<Account>) -> Result<()> {
    // A Unix socket's path is limited to 107 bytes, and a longer one fails with a message that nobody understands.
    if folder.join(".s.PGSQL.5432").as_os_str().len() > 100 {
        return Err(Error::denied(format!("the path {} is too long for a Unix socket", folder.display()))
            .hint("set TMPDIR to a shorter path"));
    }
    own(folder, account, 0o700)
}

fn own(path: &Path, account: Option<Account>, mode: u32) -> Result<()> {
    let failed = |e| Error::denied(format!("prepare {}", path.display())).source(e);
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    match account {
        Some(a) => chown(path, Some(a.uid), Some(a.gid)).map_err(failed),
        None => Ok(()),
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    if lines.is_empty() { "it said nothing".to_owned() } else { lines.into_iter().rev().collect::<Vec<_>>().join("; ") }
}

/// Ends servers and removes folders of drills whose pgkeep is known to be dead: a file in the folder says which process it was. A folder
/// without that file stays, for its process may be about to write it.
fn remove_leftovers(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        if fs::read_to_string(entry.path().join(OWNER)).is_ok_and(|owner| process::is_dead(owner.trim())) {
            end_leftover(&entry.path());
        }
    }
}

fn end_leftover(folder: &Path) {
    let pid_file = folder.join("data/postmaster.pid");
    let pid = fs::read_to_string(pid_file).ok().and_then(|text| text.lines().next().and_then(|l| l.trim().parse::<u32>().ok()));
    if let Some(pid) = pid {
        let runs_here = fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(folder.to_string_lossy().as_ref()));
        if runs_here {
            let _ = std::process::Command::new("kill").args(["-QUIT", &pid.to_string()]).status();
        }
    }
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::debug!(folder = %folder.display(), %error, "leftover of an earlier drill stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_dead_processes_are_removed() {
        let base = tempfile::tempdir().expect("folder");
        let own = process::own().expect("Linux tells");
        let (ours, _) = own.rsplit_once(' ').expect("fields");
        let folders = [("live", Some(own.clone())), ("unknown", None), ("elsewhere", Some(format!("x{own}")))];
        for (name, owner) in folders.iter().cloned().chain([("dead", Some(format!("{ours} 1")))]) {
            let folder = base.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&folder).expect("folder");
            if let Some(owner) = owner {
                fs::write(folder.join(OWNER), owner).expect("owner");
            }
        }
        remove_leftovers(base.path());
        let mut left: Vec<String> =
            base.path().read_dir().expect("list").map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        left.sort();
        assert_eq!(left, ["elsewhere", "live", "unknown"].map(|name| format!("{PREFIX}{name}")));
    }
}
