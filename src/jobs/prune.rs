//! Applies retention: decide, plan, show, then mark and sweep exactly what was shown.

use serde::Serialize;

use super::context::{Context, Place};
use super::list::Proofs;
use super::run::{self, Order, Recorder, fail_stale, under_lease};
use super::snapshot::custody::Custody;
use super::snapshot::drift::{self, Drift};
use crate::base::ids::RunId;
use crate::base::{Error, Result};
use crate::policy::retention::{self, BackupFacts, Decision, LastRun, Refusal};
use crate::repo::Vault;
use crate::repo::gc::{self, Drop, Facts, PrunePlan};
use crate::repo::lease::Purpose;
use crate::repo::listing::Listing;
use crate::repo::pins::{self, Pin};
use crate::repo::proofs::Level;
use crate::repo::runs::{self, Run, RunKind, RunState};
use crate::repo::sweep::{self, Pruned};

/// What a prune would do, and why each backup stays or goes.
#[derive(Debug, Serialize)]
pub struct PlannedPrune {
    /// The policy.
    pub policy: String,
    /// Each backup with the reasons to keep it; none means that it goes.
    pub decision: Decision,
    /// What would be done.
    pub plan: PrunePlan,
    /// Why no backup may be marked now, if so. What was marked earlier may still be due.
    pub refused: Option<Refusal>,
    /// Whether more than half of the backups would go.
    pub large: bool,
    /// Where AWS and the vault disagree, for policies of snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    #[serde(skip)]
    held_back: Option<Refusal>,
    #[serde(skip)]
    vault: Vault,
    #[serde(skip)]
    place: Place,
}

impl PlannedPrune {
    /// Whether applying would change nothing.
    pub fn is_empty(&self) -> bool {
        self.plan.is_empty()
    }

    /// Whether the last run failed for want of room and nothing is due that would make some: there is nothing to do, and nobody to blame for it.
    pub fn waits_for_what_is_due(&self) -> bool {
        self.refused.is_some() && self.held_back.is_none() && self.plan.sweep.is_empty()
    }

    /// Why it may not be applied: R2, or R4 without `force_large`. Where no backup may be marked, what was marked earlier and is due is still worth it.
    pub fn refusal(&self, force_large: bool) -> Option<Error> {
        if let Some(refusal) = &self.refused {
            let only_sweeps = self.held_back.is_none() && !self.plan.sweep.is_empty();
            return (!only_sweeps).then(|| self.held_back.as_ref().unwrap_or(refusal).clone().into());
        }
        if self.large && !force_large { self.decision.check_size().err().map(Error::from) } else { None }
    }
}

/// Decides and plans. Changes nothing.
pub async fn plan(cx: &Context, policy: &str) -> Result<PlannedPrune> {
    let (place, vault) = cx.vault(policy).await?;
    place.policy()?;
    let facts = Facts::read(&vault).await?;
    let Decided { decision, refused, held_back } = decide(cx, &place, &vault, &facts.listing, &facts.pins).await?;
    // What a prune does needs no word of AWS; what is said beside it must not stand in its way.
    let drift = match drift::find(cx, &vault, place.policy()?, &facts.listing).await {
        Ok(drift) => drift,
        Err(error) => {
            tracing::warn!(%error, "whether AWS has snapshots that no backup names could not be found out");
            None
        }
    };
    let plan = gc::plan_from(&vault, facts, &drops(&decision, refused.as_ref()), place.policy()?.grace()).await?;
    let large = decision.check_size().is_err();
    Ok(PlannedPrune { policy: place.name.clone(), decision, plan, refused, held_back, large, drift, vault, place })
}

/// Does exactly what was planned, or fails with kind `Conflict` because the vault is no longer what the plan saw.
pub async fn apply(cx: &Context, planned: &PlannedPrune, force_large: bool, order: &Order) -> Result<Pruned> {
    if let Some(refusal) = planned.refusal(force_large) {
        return Err(refusal);
    }
    under_lease(cx, &planned.vault, "prune", Purpose::Sweep, |lease, shutdown| async move {
        let run = order.id(cx);
        fail_stale(&planned.vault, &lease, &run).await?;
        let recorder = Recorder::start(cx, &planned.vault, run::record(cx, order, run, RunKind::Prune, None)).await?;
        let work = async {
            let facts = Facts::read(&planned.vault).await?;
            let now = decide(cx, &planned.place, &planned.vault, &facts.listing, &facts.pins).await?;
            if let Some(refusal) = now.held_back {
                return Err(refusal.into());
            }
            if let Some(refusal) = now.refused.clone().filter(|_| planned.refused.is_none()) {
                return Err(refusal.into());
            }
            if drops(&now.decision, now.refused.as_ref()) != planned.plan.mark {
                return Err(Error::conflict("the plan changed since it was shown: other backups would go now")
                    .hint("look at the new plan and run prune again"));
            }
            let custody = Custody { cx, vault: &planned.vault, policy: planned.place.policy.as_ref() };
            sweep::apply_to(&planned.vault, &lease, &planned.plan, facts, &custody, &shutdown).await
        };
        let outcome = shutdown.bound(work).await;
        recorder.end(outcome, |_| None).await
    })
    .await
}

/// Records a prune that was not begun because of `refusal`, which it returns.
pub async fn record_refusal(cx: &Context, planned: &PlannedPrune, order: &Order, refusal: Error) -> Error {
    let record = run::record(cx, order, order.id(cx), RunKind::Prune, None);
    match Recorder::start(cx, &planned.vault, record).await {
        Ok(recorder) => {
            recorder.end::<()>(Err(refusal), |()| None).await.err().unwrap_or_else(|| Error::internal("the refusal was lost"))
        }
        Err(unsaved) => {
            tracing::warn!(error = %unsaved, "the run record could not be written");
            refusal
        }
    }
}

/// What is decided about a vault.
struct Decided {
    decision: Decision,
    /// Why no backup may be marked.
    refused: Option<Refusal>,
    /// Why not even what was marked earlier may be deleted.
    held_back: Option<Refusal>,
}

fn drops(decision: &Decision, refused: Option<&Refusal>) -> Vec<Drop> {
    if refused.is_some() {
        return Vec::new();
    }
    let mut drops: Vec<Drop> = decision.dropped().map(|v| Drop { backup: v.id.clone(), reasons: vec![v.text()] }).collect();
    drops.sort_by(|a, b| a.backup.cmp(&b.backup));
    drops
}

async fn decide(cx: &Context, place: &Place, vault: &Vault, listing: &Listing, pins: &[Pin]) -> Result<Decided> {
    let policy = place.policy()?;
    let now = cx.clock.now();
    let ended = |r: &Run| r.kind == RunKind::Backup && matches!(r.state, RunState::Succeeded | RunState::Failed);
    let (proofs, last) = tokio::try_join!(Proofs::read(vault), runs::newest_where(vault, ended))?;
    let facts = facts_of(listing, &proofs, pins)?;
    let full = last.as_ref().and_then(|r| r.error.as_ref()).is_some_and(|e| e.over_quota);
    let last = last.map(|r| {
        // A run whose backup is there failed only in that it is suspicious, which `may_mark` judges by the backup.
        let made_one = facts.iter().any(|b| RunId::from(&b.id) == r.run);
        LastRun { succeeded: r.state == RunState::Succeeded || made_one, id: r.run }
    });
    let nothing = facts.is_empty() && listing.marked.is_empty();
    let unless_nothing = |refusal: Option<Refusal>| refusal.filter(|_| !nothing);
    let refused = unless_nothing(retention::may_mark(&facts, last.as_ref(), policy.max_age, now).err());
    // Where the room is what failed the run, only what is due can free it.
    let held_back = if full { unless_nothing(retention::may_sweep(&facts).err()) } else { refused.clone() };
    let decision = retention::decide(&facts, policy.retention.as_ref(), &place.zone(), now);
    Ok(Decided { decision, refused, held_back })
}

/// What retention needs to know of each backup; `None` when there is no vault yet.
pub async fn facts(cx: &Context, policy: &str) -> Result<Option<Vec<BackupFacts>>> {
    match cx.find_vault(policy).await? {
        (_, Some(vault)) => {
            let (listing, proofs, pins) = tokio::try_join!(Listing::read(&vault), Proofs::read(&vault), pins::all(&vault))?;
            facts_of(&listing, &proofs, &pins).map(Some)
        }
        (_, None) => Ok(None),
    }
}

fn facts_of(listing: &Listing, proofs: &Proofs, pins: &[Pin]) -> Result<Vec<BackupFacts>> {
    if let Some(damaged) = listing.damaged.first() {
        return Err(Error::integrity(format!("backup {}: {}", damaged.backup, damaged.error))
            .hint("nothing is pruned while a head cannot be read: it may name any part"));
    }
    let facts = listing.backups.iter().map(|head| {
        let pin = pins.iter().find(|p| p.backup == head.backup);
        BackupFacts {
            id: head.backup.clone(),
            consistent_at: head.consistent_at,
            committed_at: head.committed_at,
            complete: !proofs.failed(&head.backup),
            anomalous: !head.anomalies.is_empty() && pin.is_none(),
            proven: proofs.level(&head.backup) == Some(Level::Restore),
            pinned: pin.map(|p| p.reason.clone().unwrap_or_else(|| format!("by {}", p.by))),
            keep_until: head.keep_until,
        }
    });
    Ok(facts.collect())
}
