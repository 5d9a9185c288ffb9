//! Manual snapshots of an RDS instance or cluster, and their copies in other regions.

mod adapt;
mod earlier;
pub(in crate::jobs) mod in_time;
mod permissions;
pub(in crate::jobs) mod plan;
mod restore;
mod take;
mod wait;

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::future::join_all;

use super::patience::Patience;
use super::presence::finding;
use super::restore::{Restored, SnapshotPlan, Target};
use super::{Order, Owned, Permission, Released, Saved, Snapshots, Taken};
use crate::base::ids::{BackupId, RunId};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::cloud::account;
use crate::cloud::rds::settings::Settings;
use crate::cloud::rds::snapshots::Snapshot;
use crate::cloud::rds::{self, Rds, Unit};
use crate::cloud::tags::{self, Belonging, Tags};
use crate::jobs::context::Context;
use crate::jobs::source::{SnapshotRef, SnapshotSummary};
use crate::policy::model::{RdsSource, RdsTarget};
use crate::repo::contents::Document;
use crate::repo::verify::Finding;

/// The document of contents that describes the instance or cluster.
pub(super) const SETTINGS: &str = "rds";
/// The adapter for RDS. `source`: the policy's, for what makes backups.
#[derive(Debug)]
pub(in crate::jobs::snapshot) struct RdsSnapshots {
    cx: Context,
    source: Option<RdsSource>,
}

impl RdsSnapshots {
    pub(in crate::jobs::snapshot) fn new(cx: &Context, source: Option<&RdsSource>) -> Self {
        Self { cx: cx.clone(), source: source.cloned() }
    }

    fn source(&self) -> Result<&RdsSource> {
        self.source.as_ref().ok_or_else(|| {
            Error::not_found("no policy file says which instance is meant")
                .hint("name the folder of the policy files with --policies")
        })
    }

    /// `regions` and those of the policy.
    fn regions(&self, regions: &BTreeSet<String>) -> BTreeSet<String> {
        let of_policy = self.source.iter().flat_map(|s| s.copy_to.iter().chain([&s.region]));
        of_policy.chain(regions).cloned().collect()
    }

    /// Each of these snapshots, as far as it is there; an error where none is because the credentials are of another account.
    async fn found<'a>(
        &self,
        belonging: &Belonging,
        snapshots: &'a [SnapshotRef],
    ) -> Result<Vec<(&'a SnapshotRef, Option<(Rds, Snapshot)>)>> {
        let mut all = Vec::with_capacity(snapshots.len());
        for named in snapshots {
            let rds = Rds::connect(&named.region).await?;
            let found = rds.any_snapshot(&named.id).await?;
            all.push((named, found.map(|found| (rds, found))));
        }
        if let Some(named) = snapshots.first().filter(|_| all.iter().all(|(_, found)| found.is_none())) {
            account::expect(belonging.account.as_deref(), &named.region).await?;
        }
        Ok(all)
    }

    /// Deletes a snapshot of a run that made no backup; `false`: it is gone, or going, already. RDS deletes none that it is still making, so that is
    /// waited for, a little.
    async fn delete(&self, rds: &Rds, snapshot: &Snapshot) -> Result<bool> {
        if snapshot.is_going() {
            return Ok(false);
        }
        let mut patience = Patience::new(&self.cx.clock);
        loop {
            match rds.delete_snapshot(snapshot.unit, &snapshot.id).await {
                Err(error) if rds::is_busy(&error) && patience.may_be_invisible() => patience.pause().await?,
                outcome => return outcome,
            }
        }
    }

    /// Tells of `total` bytes by per cent; also that nothing moved, because AWS says that it is still at it.
    fn telling(&self, total: u64) -> impl FnMut(u64) + Send + use<> {
        let (progress, mut told) = (self.cx.progress.clone(), 0);
        move |percent| {
            let now = (total / 100 * percent).max(told);
            progress.advance(now - told);
            told = now;
        }
    }

    async fn owned_in(&self, region: &str) -> Result<Vec<(Rds, Snapshot)>> {
        let rds = Rds::connect(region).await?;
        let found = rds.manual_snapshots().await?;
        Ok(found.into_iter().filter(|s| s.tags.contains_key(tags::BACKUP)).map(|s| (rds.clone(), s)).collect())
    }
}

/// Refuses copies that RDS does not make, before anything is taken.
fn may_be_copied(source: &RdsSource, settings: &Settings) -> Result<()> {
    let Settings::Cluster(cluster, _) = settings else { return Ok(()) };
    if !cluster.engine.starts_with("aurora") && !source.copy_to.is_empty() {
        return Err(Error::unsupported("RDS copies no snapshots of Multi-AZ DB clusters").hint("leave copy_to out of [source]"));
    }
    if !cluster.storage_encrypted && !source.copy_kms_keys.is_empty() {
        return Err(Error::unsupported("RDS takes no key for copies of a DB cluster that is not encrypted")
            .hint("leave copy_kms_keys out of [source]"));
    }
    Ok(())
}

pub(super) fn unit_of(source: &RdsSource) -> (Unit, &str) {
    match &source.target {
        RdsTarget::Instance(id) => (Unit::Instance, id),
        RdsTarget::Cluster(id) => (Unit::Cluster, id),
    }
}

#[async_trait]
impl Snapshots for RdsSnapshots {
    async fn look(&self) -> Result<()> {
        let source = self.source()?;
        let (unit, id) = unit_of(source);
        let found = Rds::connect(&source.region).await?.describe(unit, id).await?;
        may_be_copied(source, &found.settings)?;
        if let Settings::Instance(instance) = &found.settings
            && let Some(cluster) = &instance.cluster
        {
            return Err(Error::unsupported(format!(
                "DB instance {id} belongs to cluster {cluster}, which is backed up as a whole"
            ))
            .hint(format!("write cluster = \"{cluster}\" in place of instance")));
        }
        Ok(())
    }

    async fn take(&self, order: &Order, shutdown: &Shutdown) -> Result<Taken> {
        let source = self.source()?;
        let (unit, of) = unit_of(source);
        let mut rds = Rds::connect(&source.region).await?;
        let before = rds.describe(unit, of).await?.settings;
        may_be_copied(source, &before)?;
        let mut warnings = Vec::new();
        warnings.extend(self.check_quota(&rds, unit).await?);
        for region in &source.copy_to {
            warnings.extend(self.check_quota(&Rds::connect(region).await?, unit).await?);
        }
        let snapshot = self.create(&mut rds, unit, of, order, shutdown).await?;
        // It may have been changed while RDS was busy with it; what counts is what the snapshot was taken of.
        let settings = match rds.describe(unit, of).await {
            Ok(found) => found.settings,
            Err(error) => {
                warnings.push(format!("the settings that are kept are those of before the snapshot: {}", error.full_message()));
                before
            }
        };
        if let Some(version) = snapshot.engine_version.as_deref().filter(|v| *v != settings.engine_version()) {
            let now = settings.engine_version();
            warnings.push(format!("the snapshot is of version {version}, and {of} is of version {now}: it changed meanwhile"));
        }
        // Of an Aurora cluster no size is said.
        let bytes = if unit == Unit::Instance && snapshot.bytes > 0 { snapshot.bytes } else { settings.bytes() };
        let original =
            SnapshotRef { region: source.region.clone(), id: snapshot.id.clone(), of: of.to_owned(), bytes, copy_of: None };
        Ok(Taken {
            // RDS says which instant it shows once it is complete.
            consistent_at: self.cx.clock.now(),
            summary: SnapshotSummary {
                // Said by the ARN of what is complete.
                account: None,
                region: source.region.clone(),
                of: format!("{} {of}", unit.noun()),
                consistent_set: true,
                snapshots: vec![original],
            },
            documents: vec![Document::new(SETTINGS, &settings)?],
            warnings,
            anomalies: Vec::new(),
        })
    }

    async fn complete(&self, order: &Order, taken: &mut Taken, shutdown: &Shutdown) -> Result<()> {
        let source = self.source()?;
        let (unit, of) = unit_of(source);
        let rds = Rds::connect(&source.region).await?;
        let original = taken.summary.snapshots.first().ok_or_else(|| Error::internal("no snapshot was taken"))?;
        let begun = Snapshot::begun(unit, of, &original.id);
        let total = original.bytes;
        self.cx.progress.stage("snapshot", Some(total));
        let done = wait::until_available(&self.cx, rds, begun, shutdown, self.telling(total)).await?;
        if !order.belonging.marks(&done.tags) {
            return Err(take::not_ours(&source.region, &done.id));
        }
        taken.summary.account = account::of_arn(&done.arn).map(str::to_owned);
        if let Some(shows) = done.shows {
            taken.consistent_at = shows;
        }
        if source.copy_to.is_empty() {
            return Ok(());
        }
        self.cx.progress.stage("copy", Some(total * source.copy_to.len() as u64));
        let copies = source.copy_to.iter().map(|region| self.copy(&done, region, order, shutdown, self.telling(total)));
        for (region, copy) in source.copy_to.iter().zip(join_all(copies).await) {
            shutdown.check()?;
            match copy {
                Ok(copy) => taken.summary.snapshots.push(copy),
                // The snapshot at home is whole, and may be the only one for a long time.
                Err(error) => {
                    self.drop_copy(&done, region, &order.belonging).await;
                    taken.anomalies.push(format!("it has no copy in {region}: {}", error.full_message()));
                }
            }
        }
        Ok(())
    }

    async fn abandon(&self, belonging: &Belonging, regions: &BTreeSet<String>) -> Result<usize> {
        let (mut deleted, mut failed) = (0, None);
        for region in self.regions(regions) {
            // A region that does not answer keeps nothing in the others.
            let owned = match self.owned_in(&region).await {
                Ok(owned) => owned,
                Err(error) => {
                    failed = failed.or(Some(error));
                    continue;
                }
            };
            for (rds, snapshot) in owned.into_iter().filter(|(_, s)| belonging.marks(&s.tags)) {
                match self.delete(&rds, &snapshot).await {
                    Ok(there) => deleted += usize::from(there),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        failed.map_or(Ok(deleted), Err)
    }

    async fn presence(&self, belonging: &Belonging, snapshots: &[SnapshotRef]) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for (named, found) in self.found(belonging, snapshots).await? {
            match found.map(|(_, found)| found) {
                None => findings.push(finding("snapshot-missing", named, "is gone")),
                Some(found) if !found.is_available() => {
                    findings.push(finding("snapshot-incomplete", named, &format!("is '{}'", found.status)));
                }
                Some(found) if !belonging.marks(&found.tags) => {
                    let text = format!("snapshot {} of {} lost its tags: a prune will leave it alone", named.id, named.of);
                    findings.push(Finding::warning("snapshot-untagged", &named.id, text));
                }
                Some(_) => {}
            }
        }
        Ok(findings)
    }

    async fn release(&self, belonging: &Belonging, snapshots: &[SnapshotRef]) -> Result<Released> {
        let mut released = Released::default();
        for (named, found) in self.found(belonging, snapshots).await? {
            let Some((rds, found)) = found else { continue };
            if !belonging.marks(&found.tags) {
                released.left.push(named.id.clone());
                continue;
            }
            if found.is_going() {
                continue;
            }
            match rds.delete_snapshot(found.unit, &found.id).await {
                Ok(there) => released.deleted += usize::from(there),
                // It is being copied, or a restore reads it.
                Err(error) if rds::is_busy(&error) => released.held = Some(error.full_message()),
                Err(error) => return Err(error),
            }
        }
        Ok(released)
    }

    async fn owned(&self, policy: &str, vault: &str, regions: &BTreeSet<String>) -> Result<Vec<Owned>> {
        let (policy, vault) = (tags::value(policy), tags::value(vault));
        let has = |tags: &Tags, key: &str, text: &String| tags.get(key) == Some(text);
        let mut owned = Vec::new();
        for region in regions {
            let found = self.owned_in(region).await?;
            let of_vault = found.into_iter().map(|(_, s)| s);
            owned.extend(of_vault.filter(|s| has(&s.tags, tags::POLICY, &policy) && has(&s.tags, tags::VAULT, &vault)).map(
                |s| {
                    let backup: Option<BackupId> = s.tags.get(tags::BACKUP).and_then(|id| id.parse().ok());
                    Owned { region: region.clone(), id: s.id, of: s.of, backup, started_at: s.created_at }
                },
            ));
        }
        Ok(owned)
    }

    async fn plan(&self, saved: &Saved, target: &Target) -> Result<SnapshotPlan> {
        restore::plan(saved, target).await
    }

    async fn restore(&self, saved: &Saved, target: &Target, run: &RunId, shutdown: &Shutdown) -> Result<Restored> {
        restore::restore(&self.cx, saved, target, run, shutdown).await
    }

    async fn permissions(&self) -> Vec<Permission> {
        permissions::ask(self.source.as_ref()).await
    }
}
