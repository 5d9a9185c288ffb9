//! Notifications, against receivers that are real: an HTTP server that can refuse, hang and redirect, a mail server, SNS.

mod channels;
mod commands;
mod lost;
mod once;
mod receivers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pgkeep::base::Error;
use pgkeep::base::clock::{ManualClock, SharedClock};
use pgkeep::daemon::notify::{Limits, Notifier, Outcome, RunEnd};
use pgkeep::policy::{self, Environment, Policy};
use pgkeep::repo::Vault;
use pgkeep::repo::document;
use pgkeep::repo::notices::Notice;
use pgkeep::repo::runs::RunKind;
use pgkeep::store::SharedStore;

/// Long enough for a receiver that answers on a busy machine.
const LIMITS: Limits = Limits { send: Duration::from_secs(30), store: Duration::from_secs(30) };

/// A policy `harena` whose `[notify]` is as given.
fn policy(notify: &str) -> Policy {
    let folder = tempfile::tempdir().expect("temporary folder");
    let text = format!(
        "description = \"Harena <production> & more\"\n[source]\nkind = \"postgres\"\nurl = \"postgres://app:hunter2@db.invalid/harena\"\n\
         [store]\nurl = \"file:///nowhere\"\n[schedule]\ncron = \"@hourly\"\ntimezone = \"Europe/Paris\"\n[notify]\n{notify}\n"
    );
    std::fs::write(folder.path().join("harena.toml"), text).expect("write the policy");
    policy::load(folder.path(), "harena").expect("a valid policy").policy
}

fn start() -> Timestamp {
    "2026-11-22T02:15:00Z".parse().expect("time")
}

async fn vault(store: &SharedStore, clock: &SharedClock) -> Vault {
    Vault::open_or_create(store.clone(), "harena", "", clock.clone()).await.expect("make the vault")
}

fn notifier(clock: &Arc<ManualClock>) -> Arc<Notifier> {
    Notifier::with_limits(clock.clone(), Environment::process(), LIMITS)
}

fn end(outcome: Outcome<'_>) -> RunEnd<'_> {
    RunEnd { kind: RunKind::Backup, run: None, backup: None, outcome, tail: None }
}

fn refused() -> Error {
    Error::denied("the server refused the password").hint("set DATABASE_URL")
}

/// Every notice in the vault, by key.
async fn notices(vault: &Vault) -> Vec<Notice> {
    let keys = document::keys(vault.store().as_ref(), &vault.layout().notices()).await.expect("list");
    document::read_all(vault.store().as_ref(), keys).await.expect("read").into_iter().map(|(_, n)| n).collect()
}

/// Texts of all files below `folder`.
fn texts(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("read the folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            text.push_str(&texts(&path));
        } else {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(&path).expect("read")));
        }
    }
    text
}
