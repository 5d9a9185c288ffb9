//! EBS: the volumes of instances, as sets of snapshots.
//!
//! [`select`] finds the volumes and groups them as AWS can take them at one instant, [`take`] starts the snapshots, [`complete`] waits, copies, archives
//! and locks, [`keep`] looks at snapshots that exist and deletes them, [`restore`] makes volumes.

mod complete;
mod documents;
mod keep;
mod may;
mod once;
pub(in crate::jobs) mod restore;
mod select;
mod take;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::restore::{Restored, SnapshotPlan, Target};
use super::{Order, Owned, Permission, Released, Saved, Snapshots, Taken};
use crate::base::clock::SharedClock;
use crate::base::ids::RunId;
use crate::base::progress::SharedProgress;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::cloud::ebs::Ebs;
use crate::cloud::tags::Belonging;
use crate::jobs::context::Context;
use crate::jobs::source::SnapshotRef;
use crate::policy::model::EbsSource;
use crate::repo::verify::Finding;

/// Bytes in a GiB.
const GIB: u64 = 1 << 30;

/// EBS as a source.
#[derive(Debug)]
pub(super) struct EbsSnapshots {
    clock: SharedClock,
    progress: SharedProgress,
    /// The policy's source; `None`: only backups that exist are worked on.
    source: Option<EbsSource>,
}

impl EbsSnapshots {
    pub(super) fn new(cx: &Context, source: Option<&EbsSource>) -> Self {
        Self { clock: cx.clock.clone(), progress: cx.progress.clone(), source: source.cloned() }
    }

    fn source(&self) -> Result<&EbsSource> {
        self.source.as_ref().ok_or_else(|| Error::internal("volumes are to be backed up, and no policy says which"))
    }

    /// Regions where snapshots of this source may be, and `more`.
    fn regions(&self, more: &BTreeSet<String>) -> BTreeSet<String> {
        let own = self.source.iter().flat_map(|s| s.copy_to.iter().chain([&s.region])).cloned();
        own.chain(more.iter().cloned()).collect()
    }
}

/// The snapshots by region.
fn by_region(snapshots: &[SnapshotRef]) -> BTreeMap<&str, Vec<&SnapshotRef>> {
    let mut regions: BTreeMap<&str, Vec<&SnapshotRef>> = BTreeMap::new();
    for snapshot in snapshots {
        regions.entry(&snapshot.region).or_default().push(snapshot);
    }
    regions
}

#[async_trait]
impl Snapshots for EbsSnapshots {
    async fn look(&self) -> Result<()> {
        let source = self.source()?;
        select::select(&Ebs::connect(&source.region).await?, source).await.map(drop)
    }

    async fn take(&self, order: &Order, shutdown: &Shutdown) -> Result<Taken> {
        take::take(self, order, shutdown).await
    }

    async fn complete(&self, order: &Order, taken: &mut Taken, shutdown: &Shutdown) -> Result<()> {
        complete::complete(self, order, taken, shutdown).await
    }

    async fn settle(&self, snapshots: &[SnapshotRef], shutdown: &Shutdown) -> Result<()> {
        complete::settle(self, snapshots, shutdown).await
    }

    async fn abandon(&self, belonging: &Belonging, regions: &BTreeSet<String>) -> Result<usize> {
        keep::abandon(&self.regions(regions), belonging).await
    }

    async fn presence(&self, belonging: &Belonging, snapshots: &[SnapshotRef]) -> Result<Vec<Finding>> {
        keep::presence(belonging, snapshots).await
    }

    async fn release(&self, belonging: &Belonging, snapshots: &[SnapshotRef]) -> Result<Released> {
        keep::release(belonging, snapshots).await
    }

    async fn owned(&self, policy: &str, vault: &str, regions: &BTreeSet<String>) -> Result<Vec<Owned>> {
        keep::owned(regions, policy, vault).await
    }

    async fn plan(&self, saved: &Saved, target: &Target) -> Result<SnapshotPlan> {
        Ok(restore::Restore::look(saved, target).await?.plan())
    }

    async fn restore(&self, saved: &Saved, target: &Target, run: &RunId, shutdown: &Shutdown) -> Result<Restored> {
        let restore = restore::Restore::look(saved, target).await?;
        restore.execute(self, run, shutdown).await
    }

    async fn permissions(&self) -> Vec<Permission> {
        match self.source() {
            Ok(source) => may::permissions(source).await,
            Err(_) => Vec::new(),
        }
    }
}
