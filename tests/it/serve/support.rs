//! Daemons of the real binary, and what their vaults say.
#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]
#![allow(clippy::disallowed_macros, clippy::print_stdout, reason = "the log of a daemon whose test failed")]

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cli::{Home, StoreKind};

/// A slot that came long ago is due in a vault this old.
pub(super) const DAILY: &str = "[schedule]\ncron = \"0 3 * * *\"\n";
/// Long enough for any machine; conditions are awaited, not times.
const PATIENCE: Duration = Duration::from_secs(240);

/// Waits until `what` gives something.
#[track_caller]
pub(super) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited for {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// A running `pgkeep serve`; killed with the value.
pub(super) struct Serve {
    child: Child,
    log: PathBuf,
}

impl Serve {
    pub(super) fn start(home: &Home, name: &str) -> Self {
        Self::spawn(home, name, |_| {})
    }

    fn spawn(home: &Home, name: &str, change: impl FnOnce(&mut Command)) -> Self {
        let log = home.path().join(format!("{name}.log"));
        let out = File::create(&log).expect("log");
        let mut command: Command = home.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.stdout(Stdio::null()).stderr(out).process_group(0);
        change(&mut command);
        Self { child: command.spawn().expect("start pgkeep serve"), log }
    }

    /// With a token for the API.
    pub(super) fn start_with(home: &Home, name: &str, token: &str) -> Self {
        Self::spawn(home, name, |command| {
            command.env("PGKEEP_API_TOKEN", token);
        })
    }

    /// Where its HTTP interface listens, once it does.
    pub(super) fn address(&self) -> String {
        wait("the daemon to listen", || {
            let log = self.log();
            let rest = log.split_once("listening address=")?.1.split_whitespace().next()?;
            Some(rest.to_owned())
        })
    }

    /// Waits for its end.
    pub(super) fn ends(&mut self) {
        wait("the daemon to end", || self.child.try_wait().expect("wait"));
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal by its name.
    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().expect("kill");
        assert!(sent.success(), "kill -{name}");
    }

    pub(super) fn waits_for_log(&self, words: &str) {
        let log = self.log.clone();
        wait(&format!("'{words}' in {}", log.display()), || self.log().contains(words).then_some(()));
    }

    pub(super) fn end(mut self) -> (ExitStatus, String) {
        let status = wait("the daemon to end", || self.child.try_wait().expect("wait"));
        let log = self.log();
        (status, log)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// A vault as somebody might reach it: through the folder, or through HTTP at the test endpoint, which checks no signature.
pub(super) struct Vault<'a> {
    home: &'a Home,
    policy: String,
}

impl<'a> Vault<'a> {
    pub(super) fn of(home: &'a Home, policy: &str) -> Self {
        Self { home, policy: policy.to_owned() }
    }

    /// Makes the vault as one that was made days ago.
    pub(super) fn make_old(&self) {
        let made = jiff::Timestamp::now().checked_sub(jiff::SignedDuration::from_hours(60)).expect("time");
        let document = json!({
            "format": 1, "vault_id": pgkeep::base::ids::random_hex(16), "policy": self.policy, "created_at": made,
            "recipients": [], "policy_text": "",
        });
        self.home.put(&format!("{}/vault.json", self.policy), &document.to_string());
    }

    pub(super) fn lease(&self) -> Value {
        self.home
            .get(&format!("{}/lease.json", self.policy))
            .map_or(Value::Null, |t| serde_json::from_str(&t).unwrap_or_default())
    }

    /// The records of its runs, oldest first.
    pub(super) fn runs(&self) -> Vec<Value> {
        let keys = self.home.keys(&format!("{}/runs/", self.policy));
        let text = keys.iter().filter_map(|key| self.home.get(key));
        let mut runs: Vec<Value> = text.filter_map(|t| serde_json::from_str(&t).ok()).collect();
        let started = |run: &Value| run["started_at"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        runs.sort_by_key(started);
        runs
    }

    /// The records of backup runs in this state.
    pub(super) fn backups(&self, state: &str) -> Vec<Value> {
        self.runs().into_iter().filter(|r| r["kind"] == "backup" && r["state"] == state).collect()
    }

    /// Waits for `count` backup runs in this state.
    pub(super) fn wait_for(&self, state: &str, count: usize) -> Vec<Value> {
        wait(&format!("{count} runs that have {state}"), || Some(self.backups(state)).filter(|runs| runs.len() >= count))
    }

    /// Fails the test if any slot was covered twice; returns the slots that are covered.
    #[track_caller]
    pub(super) fn slots_once(&self) -> Vec<String> {
        let mut slots: Vec<String> =
            self.backups("succeeded").iter().filter_map(|r| r["slot"].as_str().map(str::to_owned)).collect();
        slots.sort();
        let count = slots.len();
        slots.dedup();
        assert_eq!(slots.len(), count, "a slot was covered twice: {:#?}", self.runs());
        slots
    }
}

/// Both kinds of store, for tests that go through both.
pub(super) const STORES: [StoreKind; 2] = [StoreKind::File, StoreKind::S3];
