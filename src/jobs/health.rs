//! Whether each policy keeps its promise: can I restore, to when, and is it proven.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::context::Context;
use super::list::Proofs;
use crate::base::clock::elapsed;
use crate::base::ids::{BackupId, RunId};
use crate::base::units::format_duration;
use crate::base::{Error, Result};
use crate::policy::Policy;
use crate::repo::head::Head;
use crate::repo::listing::Listing;
use crate::repo::proofs::Level;
use crate::repo::runs::{self, Run, RunKind, RunState};
use crate::repo::{Vault, lease, notices, pins};

/// One policy.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyStatus {
    /// The policy.
    pub policy: String,
    /// Whether it keeps its promise.
    pub healthy: bool,
    /// Why not: sentences.
    pub problems: Vec<String>,
    /// Number of backups.
    pub backups: usize,
    /// The newest backup.
    pub newest: Option<BackupId>,
    /// The instant that it shows: the latest to which one can go back.
    pub consistent_at: Option<Timestamp>,
    /// Age of that instant, in seconds.
    pub age_seconds: Option<u64>,
    /// The policy's promise, in seconds.
    pub max_age_seconds: Option<u64>,
    /// The newest backup that a restore drill has proven.
    pub last_proven: Option<BackupId>,
    /// When that drill ended.
    pub last_proof_at: Option<Timestamp>,
    /// How long its restore took, in seconds.
    pub restore_seconds: Option<f64>,
    /// How the last backup run ended.
    pub last_run: Option<RunState>,
    /// Next run by schedule.
    pub next_run: Option<Timestamp>,
    /// Messages that did not arrive on channels that have not worked since.
    pub notifications_failed: u32,
}

/// The document of `status`.
#[derive(Debug, Clone, Serialize)]
pub struct StatusReport {
    /// The policies.
    pub policies: Vec<PolicyStatus>,
}

impl StatusReport {
    /// An unkept promise fails the command.
    pub fn failure(&self) -> Option<Error> {
        let broken: Vec<String> =
            self.policies.iter().filter(|p| !p.healthy).map(|p| format!("{}: {}", p.policy, p.problems.join("; "))).collect();
        (!broken.is_empty()).then(|| Error::gate(broken.join(" | ")))
    }
}

/// Looks at one policy, or all.
pub async fn status(cx: &Context, policy: Option<&str>) -> Result<StatusReport> {
    let names = match policy {
        Some(name) => vec![name.to_owned()],
        None => cx.names().await?,
    };
    let mut policies = Vec::new();
    for name in names {
        let one = match status_of(cx, &name).await {
            Err(error) if policy.is_none() => unreachable_status(&name, &error),
            other => other?,
        };
        policies.push(one);
    }
    Ok(StatusReport { policies })
}

async fn status_of(cx: &Context, name: &str) -> Result<PolicyStatus> {
    let (place, vault) = cx.find_vault(name).await?;
    judge(name, place.policy.as_ref(), vault.as_ref(), cx.clock.now()).await
}

/// Looks at the vault of one policy; `None`: there is none yet.
pub async fn judge(name: &str, policy: Option<&Policy>, vault: Option<&Vault>, now: Timestamp) -> Result<PolicyStatus> {
    let max_age = policy.and_then(|p| p.max_age);
    let next_run = policy.and_then(|p| p.schedule.as_ref()).and_then(|s| s.next_after(now));
    let mut status = PolicyStatus { max_age_seconds: max_age.map(|d| d.as_secs()), next_run, ..empty(name) };
    match vault {
        None => status.problems.push("there is no backup yet".to_owned()),
        Some(vault) => {
            look(vault, max_age, now, &mut status).await?;
            if let Some(policy) = policy {
                listen(vault, policy, now, &mut status).await?;
            }
        }
    }
    status.healthy = status.problems.is_empty();
    Ok(status)
}

async fn look(vault: &Vault, max_age: Option<Duration>, now: Timestamp, status: &mut PolicyStatus) -> Result<()> {
    let (listing, proofs, pins) = (Listing::read(vault).await?, Proofs::read(vault).await?, pins::all(vault).await?);
    let last_run = runs::newest_where(vault, |r: &Run| r.kind == RunKind::Backup).await?;
    status.backups = listing.backups.len();
    status.problems.extend(listing.damaged.iter().map(|d| format!("backup {}: {}", d.backup, d.error)));
    let acknowledged = |h: &Head| h.anomalies.is_empty() || pins.iter().any(|p| p.backup == h.backup);
    let good = |h: &&Head| acknowledged(h) && !proofs.failed(&h.backup);
    let newest = listing.backups.iter().filter(good).max_by_key(|h| h.consistent_at);
    match newest {
        None => status.problems.push("there is no good backup".to_owned()),
        Some(head) => {
            let age = elapsed(head.consistent_at, now);
            status.newest = Some(head.backup.clone());
            status.consistent_at = Some(head.consistent_at);
            status.age_seconds = Some(age.as_secs());
            if let Some(max) = max_age.filter(|max| age > *max) {
                let text =
                    format!("the newest good backup shows {} ago; the promise is {}", format_duration(age), format_duration(max));
                status.problems.push(text);
            }
        }
    }
    if let Some(last) = listing.backups.last().filter(|h| !acknowledged(h)) {
        status.problems.push(format!("backup {} is suspicious: {}", last.backup, last.anomalies.join("; ")));
    }
    for head in listing.backups.iter().filter(|h| proofs.failed(&h.backup)) {
        status.problems.push(format!("the last verification of backup {} failed", head.backup));
    }
    if let Some(head) = listing.backups.iter().rev().find(|h| proofs.level(&h.backup) == Some(Level::Restore)) {
        let proof = proofs.of(&head.backup).iter().rev().find(|p| p.passed && p.level == Level::Restore);
        status.last_proven = Some(head.backup.clone());
        status.last_proof_at = proof.map(|p| p.at);
        status.restore_seconds = proof.map(|p| restore_seconds(&p.details));
    }
    if let Some(run) = last_run {
        status.last_run = Some(run.state);
        if run.state == RunState::Running && !lease::is_held(vault).await? {
            status
                .problems
                .push(format!("the last run ({}) was killed: it says that it runs, and nobody holds the lease", run.run));
        }
        // A run whose backup is there failed only in that it is suspicious, which is judged above.
        let made_one = listing.backups.iter().any(|h| RunId::from(&h.backup) == run.run);
        if run.state == RunState::Failed && !made_one {
            let why = run.error.map(|e| e.message).unwrap_or_default();
            status.problems.push(format!("the last run ({}) failed: {why}", run.run));
        }
    }
    Ok(())
}

/// Whether those who are to hear of it do.
async fn listen(vault: &Vault, policy: &Policy, now: Timestamp, status: &mut PolicyStatus) -> Result<()> {
    let channels: Vec<&str> =
        policy.notify.channels().into_iter().chain(policy.notify.heartbeat.as_ref().map(|_| "heartbeat")).collect();
    if channels.is_empty() {
        return Ok(());
    }
    for broken in notices::broken(&notices::newest(vault).await?, &channels, now) {
        status.notifications_failed += broken.messages;
        let why = broken.error.unwrap_or_else(|| "it was begun and never ended".to_owned());
        status.problems.push(format!("the last notification by {} did not arrive: {why}", broken.channel));
    }
    Ok(())
}

fn restore_seconds(details: &serde_json::Value) -> f64 {
    let databases = details["databases"].as_array().map(Vec::as_slice).unwrap_or_default();
    databases.iter().filter_map(|d| d["restore_seconds"].as_f64()).sum()
}

fn empty(name: &str) -> PolicyStatus {
    PolicyStatus {
        policy: name.to_owned(),
        healthy: false,
        problems: Vec::new(),
        backups: 0,
        newest: None,
        consistent_at: None,
        age_seconds: None,
        max_age_seconds: None,
        last_proven: None,
        last_proof_at: None,
        restore_seconds: None,
        last_run: None,
        next_run: None,
        notifications_failed: 0,
    }
}

fn unreachable_status(name: &str, error: &Error) -> PolicyStatus {
    PolicyStatus { problems: vec![error.full_message()], ..empty(name) }
}
