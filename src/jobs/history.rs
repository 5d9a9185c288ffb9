//! What happened: the records of runs and of verifications.

use serde::Serialize;

use super::context::Context;
use crate::base::ids::BackupId;
use crate::base::{Error, Result};
use crate::repo::proofs::{self, Proof};
use crate::repo::runs::{self, Run};

/// One run.
#[derive(Debug, Clone, Serialize)]
pub struct RunRow {
    /// The policy.
    pub policy: String,
    /// Its record in the vault.
    #[serde(flatten)]
    pub run: Run,
}

/// The document of runs.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RunsReport {
    /// Newest first.
    pub runs: Vec<RunRow>,
    /// Policies whose vault cannot be read: sentences.
    pub problems: Vec<String>,
}

/// One verification.
#[derive(Debug, Clone, Serialize)]
pub struct ProofRow {
    /// The policy.
    pub policy: String,
    /// Its record in the vault.
    #[serde(flatten)]
    pub proof: Proof,
}

/// The document of proofs.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ProofsReport {
    /// Newest first.
    pub proofs: Vec<ProofRow>,
    /// Policies whose vault cannot be read: sentences.
    pub problems: Vec<String>,
}

/// The newest `limit` runs of one policy, or of all together.
pub async fn runs(cx: &Context, policy: Option<&str>, limit: usize) -> Result<(RunsReport, Option<Error>)> {
    let (names, mut trouble) = (names(cx, policy).await?, Trouble::new(policy));
    let mut runs: Vec<RunRow> = Vec::new();
    for name in names {
        let found = trouble.keep(&name, runs_of(cx, &name, limit).await)?;
        runs.extend(found.into_iter().map(|run| RunRow { policy: name.clone(), run }));
    }
    runs.sort_by(|a, b| (b.run.started_at, &b.run.run).cmp(&(a.run.started_at, &a.run.run)));
    runs.truncate(limit);
    Ok((RunsReport { runs, problems: trouble.problems }, trouble.failure))
}

async fn runs_of(cx: &Context, name: &str, limit: usize) -> Result<Vec<Run>> {
    match cx.find_vault(name).await? {
        (_, Some(vault)) => runs::newest(&vault, limit).await,
        (_, None) => Ok(Vec::new()),
    }
}

/// The newest `limit` proofs of one policy, or of all together; with `backup`, of that backup.
pub async fn proofs(
    cx: &Context,
    policy: Option<&str>,
    backup: Option<&BackupId>,
    limit: usize,
) -> Result<(ProofsReport, Option<Error>)> {
    let (names, mut trouble) = (names(cx, policy).await?, Trouble::new(policy));
    let mut proofs: Vec<ProofRow> = Vec::new();
    for name in names {
        let found = trouble.keep(&name, proofs_of(cx, &name, backup).await)?;
        proofs.extend(found.into_iter().map(|proof| ProofRow { policy: name.clone(), proof }));
    }
    proofs.sort_by_key(|p| std::cmp::Reverse(p.proof.at));
    proofs.truncate(limit);
    Ok((ProofsReport { proofs, problems: trouble.problems }, trouble.failure))
}

async fn proofs_of(cx: &Context, name: &str, backup: Option<&BackupId>) -> Result<Vec<Proof>> {
    match (cx.find_vault(name).await?, backup) {
        ((_, Some(vault)), Some(backup)) => proofs::of(&vault, backup).await,
        ((_, Some(vault)), None) => proofs::all(&vault).await,
        ((_, None), _) => Ok(Vec::new()),
    }
}

async fn names(cx: &Context, policy: Option<&str>) -> Result<Vec<String>> {
    match policy {
        Some(name) => Ok(vec![name.to_owned()]),
        None => cx.names().await,
    }
}

/// Where several policies were asked for, the trouble of one must not hide the others.
struct Trouble {
    alone: bool,
    problems: Vec<String>,
    failure: Option<Error>,
}

impl Trouble {
    fn new(policy: Option<&str>) -> Self {
        Self { alone: policy.is_some(), problems: Vec::new(), failure: None }
    }

    fn keep<T>(&mut self, name: &str, found: Result<Vec<T>>) -> Result<Vec<T>> {
        match found {
            Err(error) if !self.alone => {
                self.problems.push(format!("{name}: {error}"));
                self.failure.get_or_insert(error.context(name));
                Ok(Vec::new())
            }
            found => found,
        }
    }
}
