//! Backups that AWS keeps as snapshots: what EBS and RDS have in common, and one adapter for each.
//!
//! A backup's head names every snapshot that it owns, copies included; its contents say what is needed to make the volumes or the instance again. The
//! snapshots carry tags that say whose they are ([`Belonging`]). Taking: [`backup`]. Looking at them: [`presence`]. Deleting with the backup:
//! [`custody`]. What is there and should not be, or the other way round: [`drift`]. Putting back: [`restore`].

pub mod backup;
pub mod custody;
pub mod drift;
pub(in crate::jobs) mod ebs;
mod patience;
pub mod presence;
mod quiesce;
pub(in crate::jobs) mod rds;
pub mod restore;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;

use super::context::Context;
use super::source::{SnapshotRef, SnapshotSummary, SourceSummary};
use crate::base::ids::{BackupId, RunId};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::cloud::tags::Belonging;
use crate::policy::Policy;
use crate::policy::model::Source;
use crate::repo::Vault;
use crate::repo::contents::Document;
use crate::repo::head::Head;
use crate::repo::runs::HookRun;
use crate::repo::verify::Finding;
use restore::{Restored, SnapshotPlan, Target};

/// What a backup by snapshots needs of a kind of source. What works on backups that exist needs no policy: all that it has to know is in the vault.
#[async_trait]
pub trait Snapshots: Send + Sync + std::fmt::Debug {
    /// Asks whether the source is there and what of it would be in a backup. Changes nothing.
    async fn look(&self) -> Result<()>;

    /// Takes the snapshots, or finds those that were taken for the same backup before; does not wait for their completion.
    async fn take(&self, order: &Order, shutdown: &Shutdown) -> Result<Taken>;

    /// Waits until every snapshot is complete and every copy that the policy wants is made and complete. An error means that the set is not a backup; what
    /// it lacks and can be restored without is an anomaly.
    async fn complete(&self, order: &Order, taken: &mut Taken, shutdown: &Shutdown) -> Result<()>;

    /// Does what the policy wants of the snapshots of a backup that exists, and that cannot be taken back: locks them, moves them to a cheaper tier.
    async fn settle(&self, _snapshots: &[SnapshotRef], _shutdown: &Shutdown) -> Result<()> {
        Ok(())
    }

    /// Deletes what carries the tags of this backup, in `regions` and those of the policy, and returns how many snapshots that were. For runs that failed.
    async fn abandon(&self, belonging: &Belonging, regions: &BTreeSet<String>) -> Result<usize>;

    /// What is wrong with the snapshots of a backup: missing, not complete, without our tags.
    async fn presence(&self, belonging: &Belonging, snapshots: &[SnapshotRef]) -> Result<Vec<Finding>>;

    /// Deletes snapshots of a backup that is being swept: only those that carry its tags. One that is gone already is fine.
    async fn release(&self, belonging: &Belonging, snapshots: &[SnapshotRef]) -> Result<Released>;

    /// Every snapshot in `regions` that carries the tags of this policy and vault.
    async fn owned(&self, policy: &str, vault: &str, regions: &BTreeSet<String>) -> Result<Vec<Owned>>;

    /// What a restore to `target` would do. Changes nothing.
    async fn plan(&self, saved: &Saved, target: &Target) -> Result<SnapshotPlan>;

    /// Does what was planned; the same `run` again makes nothing twice.
    async fn restore(&self, saved: &Saved, target: &Target, run: &RunId, shutdown: &Shutdown) -> Result<Restored>;

    /// Asks for each permission that a backup, a prune and a restore need, as far as AWS tells without doing anything.
    async fn permissions(&self) -> Vec<Permission>;
}

/// What is asked of one backup.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whose the snapshots will be.
    pub belonging: Belonging,
    /// What the user calls the backup.
    pub label: Option<String>,
    /// Gets what commands around the call did, for the run's record.
    pub commands: Commands,
}

/// What commands did, also those of a run that fails.
pub type Commands = Arc<Mutex<Vec<HookRun>>>;

/// Snapshots that were taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The instant that they show; of several, the last.
    pub consistent_at: Timestamp,
    /// What is in the head.
    pub summary: SnapshotSummary,
    /// What is in the contents: all that a restore needs.
    pub documents: Vec<Document>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Why the backup is less than the policy wants: it is kept and told, and not counted by retention until somebody acknowledges it.
    pub anomalies: Vec<String>,
}

/// What became of a backup's snapshots in a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// How many were deleted now.
    pub deleted: usize,
    /// Why some could not be deleted yet, if so: in use, or locked.
    pub held: Option<String>,
    /// Snapshots that were left alone because they no longer carry our tags.
    pub left: Vec<String>,
}

/// A snapshot that carries our tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// Where it is.
    pub region: String,
    /// Its id there.
    pub id: String,
    /// What it shows.
    pub of: String,
    /// The backup that its tags name, if they name one.
    pub backup: Option<BackupId>,
    /// When it was started, if AWS says.
    pub started_at: Option<Timestamp>,
}

/// A backup as the vault has it.
#[derive(Debug, Clone)]
pub struct Saved {
    /// Whose its snapshots are.
    pub belonging: Belonging,
    /// The commit record.
    pub head: Head,
    /// What the head says of the snapshots.
    pub summary: SnapshotSummary,
    /// The documents of its contents.
    pub documents: Vec<Document>,
    /// Where it is kept, with the records of the runs.
    pub vault: Vault,
}

/// One permission.
#[derive(Debug)]
pub struct Permission {
    /// The action, such as `ec2:CreateSnapshots`.
    pub action: &'static str,
    /// `None`: AWS does not tell without doing it.
    pub outcome: Option<Result<()>>,
    /// Whether backups, prunes or restores stop without it; the others are wanted by an option.
    pub needed: bool,
}

/// The adapter for the source of `policy`, which must be one of snapshots.
pub fn of_policy(cx: &Context, policy: &Policy) -> Result<Box<dyn Snapshots>> {
    open(cx, policy.source.kind(), Some(policy))
}

/// The adapter for what `summary` describes; the policy's settings count where it is of the same kind.
pub fn of_summary(cx: &Context, summary: &SourceSummary, policy: Option<&Policy>) -> Result<Box<dyn Snapshots>> {
    open(cx, summary.kind(), policy)
}

fn open(cx: &Context, kind: &str, policy: Option<&Policy>) -> Result<Box<dyn Snapshots>> {
    match (kind, policy.map(|p| &p.source)) {
        ("ebs", Some(Source::Ebs(source))) => Ok(Box::new(ebs::EbsSnapshots::new(cx, Some(source)))),
        ("ebs", _) => Ok(Box::new(ebs::EbsSnapshots::new(cx, None))),
        ("rds", Some(Source::Rds(source))) => Ok(Box::new(rds::RdsSnapshots::new(cx, Some(source)))),
        ("rds", _) => Ok(Box::new(rds::RdsSnapshots::new(cx, None))),
        (kind, _) => Err(Error::unsupported(format!("sources of kind '{kind}' are not supported by this version of pgkeep"))),
    }
}
