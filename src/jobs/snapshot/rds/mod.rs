//! Manual snapshots of an RDS instance or cluster, and their copies in other regions.

mod permissions;
pub(in crate::jobs) mod plan;
pub(in crate::jobs) mod restore;
mod wait;

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::future::try_join_all;

use self::wait::Patience;
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
/// KMS key of a region for encrypted copies, where the policy names none: AWS's own for RDS.
const DEFAULT_KEY: &str = "alias/aws/rds";
/// Share of the quota from which on it is told.
const NEARLY: f64 = 0.9;
/// States from which RDS does not come back by itself.
const STUCK: [&str; 10] = [
    "stopped",
    "failed",
    "deleting",
    "restore-error",
    "incompatible-network",
    "incompatible-option-group",
    "incompatible-parameters",
    "incompatible-restore",
    "inaccessible-encryption-credentials",
    "insufficient-capacity",
];

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

    /// Refuses to begin what the quota would not let end, and warns when it soon will.
    async fn check_quota(&self, rds: &Rds, unit: Unit) -> Result<Option<String>> {
        let quota = match rds.quota(unit).await {
            Ok(Some(quota)) => quota,
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::info!(%error, "the quota of snapshots cannot be read; RDS itself will say if it is used up");
                return Ok(None);
            }
        };
        if quota.used >= quota.max {
            return Err(over_quota(rds.region(), unit).hint(quota_hint(unit)));
        }
        let nearly = (quota.used + 1) as f64 >= NEARLY * quota.max as f64;
        Ok(nearly.then(|| {
            format!(
                "{} has room for {} more manual snapshots ({} of {} are used): prune, or ask AWS for a higher quota {}",
                rds.region(),
                quota.max - quota.used - 1,
                quota.used + 1,
                quota.max,
                unit.quota()
            )
        }))
    }

    /// Asks until RDS takes the request: an instance that is being backed up or changed takes none for a while.
    async fn create(&self, rds: &Rds, unit: Unit, of: &str, order: &Order, shutdown: &Shutdown) -> Result<Snapshot> {
        let (id, tags) = (identifier(&order.belonging), tags_of(order, of));
        let mut patience = Patience::new(&self.cx);
        loop {
            match rds.create_snapshot(unit, of, &id, &tags).await {
                Err(error) if rds::exists_already(&error) => return ours(rds, unit, &id, &order.belonging).await,
                Err(error) if rds::is_over_quota(&error) => {
                    return Err(over_quota(rds.region(), unit).hint(quota_hint(unit)).source(error));
                }
                Err(error) if rds::is_busy(&error) => {
                    let status = rds.describe(unit, of).await?.status;
                    if STUCK.contains(&status.as_str()) {
                        return Err(Error::conflict(format!("{} {of} is '{status}': RDS takes no snapshot of it", unit.noun()))
                            .hint("bring it back to 'available' first"));
                    }
                    tracing::info!(of, status, "RDS is busy with it; asking again");
                    shutdown.guard(patience.pause()).await?;
                }
                outcome => return outcome,
            }
        }
    }

    async fn copy(&self, from: &Snapshot, region: &str, order: &Order, shutdown: &Shutdown) -> Result<SnapshotRef> {
        let rds = Rds::connect(region).await?;
        let key = self.source()?.copy_kms_keys.get(region).map(String::as_str).or(from.encrypted.then_some(DEFAULT_KEY));
        let copy = match rds.copy_snapshot(from, &from.id, key, &tags_of(order, &from.of)).await {
            Err(error) if rds::exists_already(&error) => ours(&rds, from.unit, &from.id, &order.belonging).await?,
            Err(error) if rds::is_over_quota(&error) => {
                return Err(over_quota(region, from.unit).hint(quota_hint(from.unit)).source(error));
            }
            copy => copy?,
        };
        let done = wait::until_available(&self.cx, rds, copy, shutdown, |_| {}).await?;
        Ok(SnapshotRef {
            region: region.to_owned(),
            id: done.id,
            of: from.of.clone(),
            bytes: from.bytes,
            copy_of: Some(from.id.clone()),
        })
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

    async fn owned_in(&self, region: &str) -> Result<Vec<(Rds, Snapshot)>> {
        let rds = Rds::connect(region).await?;
        let found = rds.manual_snapshots().await?;
        Ok(found.into_iter().filter(|s| s.tags.contains_key(tags::BACKUP)).map(|s| (rds.clone(), s)).collect())
    }
}

/// The snapshot `id`, if it belongs to this backup.
async fn ours(rds: &Rds, unit: Unit, id: &str, belonging: &Belonging) -> Result<Snapshot> {
    let found = rds.snapshot(unit, id).await?.filter(|s| belonging.marks(&s.tags));
    found.ok_or_else(|| {
        Error::conflict(format!("there is a snapshot {id} in {} already, and it does not carry our tags", rds.region()))
            .hint("somebody else made it, or took its tags away: look at it, and back up again")
    })
}

fn over_quota(region: &str, unit: Unit) -> Error {
    Error::denied(format!("the quota of manual snapshots of a {} in {region} is used up", unit.noun()))
}

fn quota_hint(unit: Unit) -> String {
    format!(
        "RDS allows 100 for each account and region unless asked for more ({} in Service Quotas): `pgkeep prune POLICY --yes` deletes backups that were \
         removed and whose grace period is over, also after a failed run; snapshots of others count too",
        unit.quota()
    )
}

/// Identifier of a backup's snapshots, the same in every region: letters, digits and single hyphens, lower case as RDS keeps it.
fn identifier(belonging: &Belonging) -> String {
    let mut id = String::from("pgkeep-");
    for c in format!("{}-{}", belonging.policy, belonging.backup).chars() {
        let c = if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        if c != '-' || !id.ends_with('-') {
            id.push(c);
        }
    }
    id.trim_end_matches('-').to_owned()
}

fn tags_of(order: &Order, of: &str) -> Tags {
    let mut tags = order.belonging.tags();
    tags.insert(tags::SET_SIZE.to_owned(), "1".to_owned());
    tags.insert(tags::NAME.to_owned(), tags::value(&format!("{} {of} {}", order.belonging.policy, order.belonging.backup)));
    if let Some(label) = &order.label {
        tags.insert(tags::LABEL.to_owned(), tags::value(label));
    }
    tags
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
        let rds = Rds::connect(&source.region).await?;
        let found = rds.describe(unit, of).await?;
        let mut warnings = Vec::new();
        warnings.extend(self.check_quota(&rds, unit).await?);
        for region in &source.copy_to {
            warnings.extend(self.check_quota(&Rds::connect(region).await?, unit).await?);
        }
        let snapshot = self.create(&rds, unit, of, order, shutdown).await?;
        let bytes = found.settings.bytes();
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
            documents: vec![Document::new(SETTINGS, &found.settings)?],
            warnings,
        })
    }

    async fn complete(&self, order: &Order, taken: &mut Taken, shutdown: &Shutdown) -> Result<()> {
        let source = self.source()?;
        let (unit, _) = unit_of(source);
        let rds = Rds::connect(&source.region).await?;
        let original = taken.summary.snapshots.first().ok_or_else(|| Error::internal("no snapshot was taken"))?;
        let begun = ours(&rds, unit, &original.id, &order.belonging).await?;
        let total = original.bytes;
        let progress = &self.cx.progress;
        progress.stage("snapshot", Some(total));
        let mut told = 0;
        let done = wait::until_available(&self.cx, rds, begun, shutdown, |percent| {
            let now = total / 100 * percent;
            progress.advance(now.saturating_sub(told));
            told = told.max(now);
        })
        .await?;
        progress.advance(total.saturating_sub(told));
        taken.summary.account = account::of_arn(&done.arn).map(str::to_owned);
        if let Some(shows) = done.shows {
            taken.consistent_at = shows;
        }
        if !source.copy_to.is_empty() {
            progress.stage("copy", None);
            let copies = source.copy_to.iter().map(|region| self.copy(&done, region, order, shutdown));
            taken.summary.snapshots.extend(try_join_all(copies).await?);
        }
        Ok(())
    }

    async fn abandon(&self, belonging: &Belonging, regions: &BTreeSet<String>) -> Result<usize> {
        let (mut deleted, mut failed) = (0, None);
        for region in self.regions(regions) {
            for (rds, snapshot) in self.owned_in(&region).await?.into_iter().filter(|(_, s)| belonging.marks(&s.tags)) {
                match rds.delete_snapshot(snapshot.unit, &snapshot.id).await {
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
        for region in self.regions(regions) {
            let found = self.owned_in(&region).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_what_rds_takes() {
        let of = |policy: &str| {
            identifier(&Belonging {
                policy: policy.to_owned(),
                vault: "v".to_owned(),
                backup: "20261122T021500Z-7f3a".parse().expect("id"),
                account: None,
            })
        };
        assert_eq!(of("harena-db"), "pgkeep-harena-db-20261122t021500z-7f3a");
        assert_eq!(of("a._-b"), "pgkeep-a-b-20261122t021500z-7f3a");
        assert!(of(&"a".repeat(64)).len() <= 255);
    }
}
