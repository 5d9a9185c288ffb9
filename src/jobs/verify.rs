//! Proves backups at the level that is asked for, and writes down what was found.

use serde::Serialize;

use super::context::{Context, Place};
use super::drill;
use super::due;
use super::mark::Mark;
use super::references;
use super::run::{self, Order, Recorder, under_lease};
use super::select::Choice;
use super::snapshot::presence;
use super::source::SourceSummary;
use crate::base::clock::Stopwatch;
use crate::base::ids::BackupId;
use crate::base::{Error, Kind, Result};
use crate::pg::scratch;
use crate::policy::{Scratch, VerifyLevel};
use crate::repo::head::Head;
use crate::repo::lease::Purpose;
use crate::repo::listing::{Listing, Selector};
use crate::repo::proofs::{self, Level, Proof};
use crate::repo::runs::{Run, RunKind};
use crate::repo::{Vault, verify};

/// What the user asks.
#[derive(Debug, Clone, Default)]
pub struct VerifyRequest {
    /// Which backup.
    pub choice: Choice,
    /// Every backup.
    pub all: bool,
    /// How deep; the policy's level if not given.
    pub level: Option<Level>,
    /// Where a drill runs; the policy's place if not given.
    pub scratch: Option<String>,
    /// Who wants it; with `all`, an id is that of the first run.
    pub order: Order,
}

/// The document of `verify`.
#[derive(Debug, Serialize)]
pub struct VerifyReport {
    /// The policy.
    pub policy: String,
    /// What was proven or found, oldest backup first.
    pub proofs: Vec<Proof>,
    /// Heads that cannot be read: sentences.
    pub damaged_heads: Vec<String>,
    /// Backups that could not be verified, with `--all`.
    pub unverified: Vec<Unverified>,
}

/// A backup of which nothing was found out.
#[derive(Debug, Serialize)]
pub struct Unverified {
    /// The backup.
    pub backup: BackupId,
    /// Why.
    #[serde(serialize_with = "message")]
    pub error: Error,
}

fn message<S: serde::Serializer>(error: &Error, s: S) -> std::result::Result<S::Ok, S::Error> {
    s.serialize_str(&error.full_message())
}

impl VerifyReport {
    /// Damage fails the command.
    pub fn failure(&self) -> Option<Error> {
        let failed: Vec<&Proof> = self.proofs.iter().filter(|p| !p.passed).collect();
        let backups: Vec<String> =
            failed.iter().map(|p| p.backup.to_string()).chain(self.damaged_heads.iter().cloned()).collect();
        let first =
            failed.iter().flat_map(|p| &p.findings).next().map(|f| format!("; the first: {}", f.message)).unwrap_or_default();
        if let (true, Some(first)) = (backups.is_empty(), self.unverified.first()) {
            return Some(Error::new(
                first.error.kind(),
                format!(
                    "{} backups could not be verified; the first: {}: {}",
                    self.unverified.len(),
                    first.backup,
                    first.error.full_message()
                ),
            ));
        }
        (!backups.is_empty()).then(|| {
            Error::integrity(format!("verification failed: {}{first}", backups.join(", "))).hint(format!(
                "`pgkeep list {}` shows which backups are still proven; `pgkeep backup {}` makes a new one and puts back the parts that it can",
                self.policy, self.policy
            ))
        })
    }
}

/// Verifies the chosen backup, or all.
pub async fn verify(cx: &Context, policy: &str, request: &VerifyRequest) -> Result<VerifyReport> {
    let (place, vault) = cx.vault(policy).await?;
    let level = request.level.unwrap_or_else(|| place.policy.as_ref().map_or(Level::Presence, |p| level_of(p.verify.level)));
    let scratch = scratch_place(cx, &place, request.scratch.as_deref()).await?;
    let listing = Listing::read(&vault).await?;
    let mut report =
        VerifyReport { policy: place.name.clone(), proofs: Vec::new(), damaged_heads: Vec::new(), unverified: Vec::new() };
    if request.all {
        report.damaged_heads.extend(listing.damaged.iter().map(|d| format!("{}: {}", d.backup, d.error)));
    }
    let chosen: Vec<Head> = if request.all {
        if listing.backups.is_empty() && report.damaged_heads.is_empty() {
            listing.find(&Selector::Latest)?;
        }
        listing.backups
    } else {
        vec![listing.find(&request.choice.selector(&place.zone(), cx.clock.now())?)?.clone()]
    };
    let mut levels = Vec::with_capacity(chosen.len());
    for head in &chosen {
        levels.push(presence::level(&SourceSummary::of(head)?, level, request.level.is_some())?);
    }
    let shallow =
        if levels.contains(&Level::Presence) { Some(Depth::Presence(verify::Presence::new(&vault).await?)) } else { None };
    let deep = if level == Level::Restore { Depth::Restore(scratch) } else { Depth::Content };
    for (i, (head, level)) in chosen.iter().zip(levels).enumerate() {
        let depth = shallow.as_ref().filter(|_| level == Level::Presence).unwrap_or(&deep);
        let order = if i == 0 { request.order.clone() } else { Order { id: None, ..request.order.clone() } };
        match verify_one(cx, &place, &vault, head, depth, &order).await {
            Ok(proof) => report.proofs.push(proof),
            // One that cannot be verified now must not discard what is known of the others.
            Err(error) if request.all && error.kind() != Kind::Cancelled => {
                report.unverified.push(Unverified { backup: head.backup.clone(), error });
            }
            Err(error) => return Err(error),
        }
    }
    cx.progress.finish();
    Ok(report)
}

/// A level, and what verifying at it needs.
enum Depth<'a> {
    Presence(verify::Presence<'a>),
    Content,
    Restore(scratch::Place),
}

impl Depth<'_> {
    const fn level(&self) -> Level {
        match self {
            Self::Presence(_) => Level::Presence,
            Self::Content => Level::Content,
            Self::Restore(_) => Level::Restore,
        }
    }
}

const fn level_of(level: VerifyLevel) -> Level {
    match level {
        VerifyLevel::Presence => Level::Presence,
        VerifyLevel::Content => Level::Content,
        VerifyLevel::Restore => Level::Restore,
    }
}

pub(super) async fn scratch_place(cx: &Context, place: &Place, asked: Option<&str>) -> Result<scratch::Place> {
    match asked {
        Some("auto") => Ok(scratch::Place::Auto),
        Some("local") => Ok(scratch::Place::Local),
        Some("docker") => Ok(scratch::Place::Docker),
        Some(url) => Ok(scratch::Place::Url(references::resolve_argument(url, &cx.env).await?)),
        None => match place.policy.as_ref().map(|p| &p.verify.scratch) {
            None | Some(Scratch::Auto) => Ok(scratch::Place::Auto),
            Some(Scratch::Docker) => Ok(scratch::Place::Docker),
            Some(Scratch::Local) => Ok(scratch::Place::Local),
            Some(Scratch::Server(url)) => Ok(scratch::Place::Url(references::resolve(url, &cx.env).await?)),
        },
    }
}

async fn verify_one(cx: &Context, place: &Place, vault: &Vault, head: &Head, depth: &Depth<'_>, order: &Order) -> Result<Proof> {
    let run = order.id(cx);
    let mark = Mark::begin(vault, &run, &head.backup, "verify", cx.owner("verify")).await?;
    let started = match order.slot {
        None => Recorder::start(cx, vault, about(run::record(cx, order, run, RunKind::Verify, None), head)).await,
        // Readers need no lease; that of the moment decides which of two daemons verifies.
        Some(slot) => {
            let run = &run;
            under_lease(cx, vault, "verify", Purpose::Write, |lease, _| async move {
                let claim = due::claim(cx, vault, &lease, place.policy()?, RunKind::Verify, slot, run).await?;
                Recorder::start(cx, vault, about(run::record(cx, order, run.clone(), RunKind::Verify, Some(claim)), head)).await
            })
            .await
        }
    };
    let mut recorder = match started {
        Ok(recorder) => recorder,
        Err(error) => {
            mark.end().await;
            return Err(error);
        }
    };
    recorder.stage(depth.level().name());
    let outcome = cx.shutdown.bound(prove(cx, place, vault, head, depth)).await;
    if let Ok(proof) = &outcome
        && let Err(error) = proofs::record(vault, proof).await
    {
        tracing::warn!(%error, backup = %head.backup, "the proof could not be written into the vault");
    }
    let failure = |proof: &Proof| {
        let first = proof.findings.first().map(|f| f.message.clone()).unwrap_or_default();
        (!proof.passed).then(|| Error::integrity(format!("verification failed: {first}")))
    };
    let outcome = recorder.end(outcome, failure).await;
    mark.end().await;
    outcome
}

fn about(mut run: Run, head: &Head) -> Run {
    run.backup = Some(head.backup.clone());
    run
}

async fn prove(cx: &Context, place: &Place, vault: &Vault, head: &Head, depth: &Depth<'_>) -> Result<Proof> {
    let watch = Stopwatch::start();
    let progress = cx.progress.as_ref();
    let (findings, details) = match depth {
        Depth::Presence(store) => {
            let mut found = store.check(head, progress, &cx.shutdown).await?;
            let mut details = serde_json::json!({ "parts": found.parts, "bytes_read": found.bytes_read });
            if let Some(findings) = presence::check(cx, vault, place.policy.as_ref(), head).await? {
                found.findings.extend(findings);
                details["snapshots"] = head.counts.objects.into();
            }
            (found.findings, details)
        }
        Depth::Content => {
            let found = verify::content(vault, head, progress, &cx.shutdown).await?;
            let details = serde_json::json!({ "parts": found.parts, "bytes_read": found.bytes_read });
            (found.findings, details)
        }
        Depth::Restore(scratch) => drill::drill(cx, vault, head, scratch).await?,
    };
    let passed = findings.iter().all(|f| f.severity != verify::Severity::Damage);
    Ok(Proof {
        backup: head.backup.clone(),
        level: depth.level(),
        at: cx.clock.now(),
        passed,
        seconds: watch.elapsed().as_secs_f64(),
        tool: super::tool(),
        findings,
        details,
    })
}
