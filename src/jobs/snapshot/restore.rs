//! Restores a backup by snapshots: choose, plan, show, make. Nothing that exists is ever changed, detached or deleted.

use jiff::Timestamp;
use serde::Serialize;

use super::presence::belonging;
use super::{Saved, Snapshots, of_summary};
use crate::base::clock::{Stopwatch, elapsed};
use crate::base::ids::{BackupId, RunId};
use crate::base::{Error, Kind, Result};
use crate::jobs::context::Context;
use crate::jobs::mark::Mark;
use crate::jobs::run::{self, Order, Recorder};
use crate::jobs::select::Choice;
use crate::jobs::source::SourceSummary;
use crate::repo::Vault;
use crate::repo::listing::{Listing, Selector};
use crate::repo::reader::read_contents;
use crate::repo::runs::RunKind;

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// New volumes.
    Volumes(ToVolumes),
    /// A new RDS instance or cluster.
    Instance(ToInstance),
}

/// New EBS volumes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToVolumes {
    /// Availability zone.
    pub zone: String,
    /// Another type than the original's.
    pub volume_type: Option<String>,
    /// Another size than the original's, in GiB; for backups of one volume.
    pub size_gib: Option<u32>,
    /// Instance to attach them to.
    pub attach: Option<String>,
}

/// A new RDS instance or cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToInstance {
    /// Its identifier.
    pub name: String,
    /// Another region than the original's: the copy there is restored.
    pub region: Option<String>,
    /// The time that was asked for, if one was.
    pub at: Option<Timestamp>,
    /// Whether that is now, for want of another: what is wanted is the newest that there is.
    pub latest: bool,
    /// From the automated backups, at that time, and not from the snapshot.
    pub point_in_time: bool,
    /// Availability zone; of a cluster, of its first instance. Else RDS chooses.
    pub zone: Option<String>,
    /// Another class than the original's.
    pub class: Option<String>,
    /// Another subnet group.
    pub subnet_group: Option<String>,
    /// Other security groups.
    pub security_groups: Vec<String>,
    /// Another parameter group.
    pub parameter_group: Option<String>,
}

/// What the user asks.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// Which backup.
    pub choice: Choice,
    /// Where to.
    pub target: Target,
}

/// One call to AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedCall {
    /// AWS's name of the operation: `CreateVolume`.
    pub operation: String,
    /// What it is about: the original's id.
    pub of: String,
    /// Its parameters, by AWS's names.
    pub parameters: serde_json::Value,
}

/// What a kind of source would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotPlan {
    /// Region.
    pub region: String,
    /// Where to, for people.
    pub target: String,
    /// The calls, in order.
    pub calls: Vec<PlannedCall>,
    /// Size of what is made, in bytes.
    pub bytes: u64,
    /// How long until it can be used, in seconds: an estimate.
    pub estimated_seconds: u64,
    /// What the estimate rests on.
    pub estimate: String,
    /// What a person should know.
    pub notes: Vec<String>,
    /// The instant that comes back, where it is not the backup's.
    #[serde(skip)]
    pub shows: Option<Timestamp>,
    /// What RDS's automated backups offer beside the snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<PointInTime>,
}

/// A point-in-time restore from RDS's automated backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PointInTime {
    /// The first instant that they reach.
    pub earliest: Timestamp,
    /// The last.
    pub latest: Timestamp,
    /// The one that serves the time that was asked for, if any does.
    pub reaches: Option<Timestamp>,
    /// Seconds from there to the time that was asked for.
    pub loss_seconds: Option<u64>,
    /// Whether that is what will be done.
    pub chosen: bool,
}

/// Something that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Its id in AWS.
    pub id: String,
    /// What it is a restore of.
    pub of: String,
    /// What else there is to know: size, type, device, endpoint; by AWS's names.
    pub details: serde_json::Value,
}

/// What a kind of source has made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// What was made.
    pub made: Vec<Made>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// The instant that came back, where it is not the backup's.
    #[serde(skip)]
    pub shows: Option<Timestamp>,
}

/// A restore that was looked at and not yet done; the backup is marked as being read.
#[derive(Debug, Serialize)]
pub struct PlannedSnapshots {
    /// The policy.
    pub policy: String,
    /// The backup.
    pub backup: BackupId,
    /// `ebs`, `rds`.
    pub kind: &'static str,
    /// The instant that it shows: what came after it is not in it.
    pub consistent_at: Timestamp,
    /// Age of that instant, in seconds.
    pub loss_seconds: u64,
    /// What a person should know of the backup.
    pub backup_warnings: Vec<String>,
    /// What will be done.
    #[serde(flatten)]
    pub plan: SnapshotPlan,
    #[serde(skip)]
    saved: Saved,
    #[serde(skip)]
    target: Target,
    #[serde(skip)]
    snapshots: Box<dyn Snapshots>,
    #[serde(skip)]
    vault: Vault,
    #[serde(skip)]
    run: RunId,
    #[serde(skip)]
    mark: Mark,
}

impl PlannedSnapshots {
    /// Gives up without restoring.
    pub async fn abandon(self) {
        self.mark.end().await;
    }
}

/// The document of a restore by snapshots.
#[derive(Debug, Serialize)]
pub struct SnapshotsRestored {
    /// The policy.
    pub policy: String,
    /// The backup.
    pub backup: BackupId,
    /// The instant that it shows.
    pub consistent_at: Timestamp,
    /// Whether it comes from RDS's automated backups, and not from the snapshot.
    #[serde(skip)]
    pub point_in_time: bool,
    /// Where to, for people.
    pub target: String,
    /// What was made.
    #[serde(flatten)]
    pub restored: Restored,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// Chooses the backup and says what would happen. Changes nothing but the reader mark.
pub async fn plan(cx: &Context, policy: &str, request: &SnapshotRequest) -> Result<PlannedSnapshots> {
    let (place, vault) = cx.vault(policy).await?;
    let now = cx.clock.now();
    let listing = Listing::read(&vault).await?;
    let selector = request.choice.selector(&place.zone(), now)?;
    let target = with_time(&request.target, &selector, now)?;
    let head = match listing.find(&selector) {
        // Automated backups may reach a time from before the first snapshot, of which the settings are known all the same.
        Err(error) if error.kind() == Kind::NotFound && in_time(&target) => listing.backups.first().ok_or(error)?,
        found => found?,
    }
    .clone();
    let summary = SourceSummary::of(&head)?;
    let Some(set) = summary.snapshots() else {
        return Err(Error::usage(format!("backup {} is of databases, not of snapshots in AWS", head.backup))
            .hint("say where to with --to URL"));
    };
    let snapshots = of_summary(cx, &summary, place.policy.as_ref())?;
    let run = RunId::generate(now);
    let mark = Mark::begin(&vault, &run, &head.backup, "restore", cx.owner("restore")).await?;
    let looked = async {
        let documents = read_contents(&vault, &head).await?.documents;
        let (head, summary) = (head.clone(), set.clone());
        let saved = Saved { belonging: belonging(&vault, &head, set), head, summary, documents, vault: vault.clone() };
        let plan = snapshots.plan(&saved, &target).await?;
        Ok((saved, plan))
    };
    match looked.await {
        Ok((saved, plan)) => Ok(PlannedSnapshots {
            policy: place.name,
            kind: summary.kind(),
            loss_seconds: elapsed(plan.shows.unwrap_or(head.consistent_at), now).as_secs(),
            consistent_at: plan.shows.unwrap_or(head.consistent_at),
            backup_warnings: crate::jobs::restore::warnings(&head),
            backup: head.backup,
            plan,
            saved,
            target,
            snapshots,
            vault,
            run,
            mark,
        }),
        Err(error) => {
            mark.end().await;
            Err(error)
        }
    }
}

/// The target with the time that was asked for.
fn with_time(target: &Target, selector: &Selector, now: Timestamp) -> Result<Target> {
    let mut target = target.clone();
    if let Target::Instance(to) = &mut target {
        to.latest = *selector == Selector::Latest;
        to.at = match selector {
            Selector::At(at) => Some(*at),
            Selector::Latest => Some(now),
            Selector::Backup(_) | Selector::Label(_) if to.point_in_time => {
                return Err(Error::usage("--point-in-time restores a time, not a backup").hint("say which with --at"));
            }
            Selector::Backup(_) | Selector::Label(_) => None,
        };
    }
    Ok(target)
}

fn in_time(target: &Target) -> bool {
    matches!(target, Target::Instance(to) if to.point_in_time)
}

/// Does what was planned.
pub async fn execute(cx: &Context, planned: PlannedSnapshots) -> Result<SnapshotsRestored> {
    let watch = Stopwatch::start();
    let mut record = run::record(cx, &Order::default(), planned.run.clone(), RunKind::Restore, None);
    record.backup = Some(planned.backup.clone());
    let mut recorder = Recorder::start(cx, &planned.vault, record).await?;
    recorder.stage("restore");
    let PlannedSnapshots { saved, target, run, snapshots, .. } = &planned;
    let outcome = cx.shutdown.bound(snapshots.restore(saved, target, run, &cx.shutdown)).await;
    cx.progress.finish();
    recorder.end_stage(planned.plan.bytes);
    let outcome = recorder.end(outcome, |_| None).await;
    planned.mark.end().await;
    let restored = outcome?;
    Ok(SnapshotsRestored {
        policy: planned.policy,
        backup: planned.backup,
        consistent_at: restored.shows.unwrap_or(planned.consistent_at),
        point_in_time: in_time(&planned.target),
        target: planned.plan.target,
        restored,
        seconds: watch.elapsed().as_secs_f64(),
    })
}
