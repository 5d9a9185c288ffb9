//! Makes snapshots and their copies: asks until RDS takes the request, bears what passes, and says what does not.

use super::super::patience::Patience;
use super::wait;
use super::{Rds, RdsSnapshots, Unit};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::cloud::rds;
use crate::cloud::rds::snapshots::Snapshot;
use crate::cloud::tags::{self, Belonging, Tags};
use crate::jobs::snapshot::Order;
use crate::jobs::source::SnapshotRef;

/// KMS key of a region for encrypted copies, where the policy names none: AWS's own for RDS.
const DEFAULT_KEY: &str = "alias/aws/rds";
/// Share of the quota from which on it is told.
const NEARLY: f64 = 0.9;
/// Longest identifier of a cluster's snapshot (CreateDBClusterSnapshot); those of instances may be longer.
const LONGEST: usize = 63;
/// States of instances and clusters that RDS leaves by itself, so that it takes a snapshot later; beside those that begin with [`PASSING_KINDS`].
const PASSING: [&str; 19] = [
    "available",
    "backing-up",
    "backtracking",
    "cloning",
    "creating",
    "failing-over",
    "maintenance",
    "migrating",
    "modifying",
    "preparing-data-migration",
    "promoting",
    "rebooting",
    "renaming",
    "starting",
    "storage-config-upgrade",
    "storage-initialization",
    "storage-optimization",
    "update-iam-db-auth",
    "upgrading",
];
const PASSING_KINDS: [&str; 5] = ["configuring-", "converting-", "moving-", "resetting-", "scaling-"];

/// Whether it is worth asking again for a snapshot of what is in this state.
fn passes(status: &str) -> bool {
    PASSING.contains(&status) || PASSING_KINDS.iter().any(|kind| status.starts_with(kind))
}

impl RdsSnapshots {
    /// Refuses to begin what the quota would not let end, and warns when it soon will.
    pub(super) async fn check_quota(&self, rds: &Rds, unit: Unit) -> Result<Option<String>> {
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
    pub(super) async fn create(
        &self,
        rds: &mut Rds,
        unit: Unit,
        of: &str,
        order: &Order,
        shutdown: &Shutdown,
    ) -> Result<Snapshot> {
        let (id, tags) = (identifier(&order.belonging), tags_of(order, of));
        let mut patience = Patience::new(&self.cx.clock);
        loop {
            match rds.create_snapshot(unit, of, &id, &tags).await {
                Err(error) if rds::exists_already(&error) => return self.ours(rds, unit, &id, &order.belonging, shutdown).await,
                Err(error) if rds::is_over_quota(&error) => {
                    return Err(over_quota(rds.region(), unit).hint(quota_hint(unit)).source(error));
                }
                Err(error) if rds::is_busy(&error) => match rds.describe(unit, of).await {
                    Ok(found) if !passes(&found.status) => {
                        let status = found.status;
                        return Err(Error::conflict(format!("{} {of} is '{status}': RDS takes no snapshot of it", unit.noun()))
                            .hint("bring it back to 'available' first"));
                    }
                    Ok(found) => {
                        patience.answered();
                        tracing::info!(of, status = found.status, "RDS is busy with it; asking again");
                    }
                    Err(error) => patience.bear(error, rds).await?,
                },
                Err(error) => patience.bear(error, rds).await?,
                made => return made,
            }
            shutdown.guard(patience.pause()).await?;
        }
    }

    /// Copies `from` to another region and waits for the copy; `tell` is told how many per cent are done.
    pub(super) async fn copy(
        &self,
        from: &Snapshot,
        region: &str,
        order: &Order,
        shutdown: &Shutdown,
        tell: impl FnMut(u64) + Send,
    ) -> Result<SnapshotRef> {
        let mut rds = Rds::connect(region).await?;
        let copy = self.begin_copy(&mut rds, from, order, shutdown).await?;
        let done = wait::until_available(&self.cx, rds, copy, shutdown, tell).await?;
        Ok(SnapshotRef {
            region: region.to_owned(),
            id: done.id,
            of: from.of.clone(),
            bytes: from.bytes,
            copy_of: Some(from.id.clone()),
        })
    }

    /// Asks until RDS takes the request: it makes only so many copies at once.
    async fn begin_copy(&self, rds: &mut Rds, from: &Snapshot, order: &Order, shutdown: &Shutdown) -> Result<Snapshot> {
        let own = self.source()?.copy_kms_keys.get(rds.region()).map(String::as_str);
        let (key, tags) = (own.or(from.encrypted.then_some(DEFAULT_KEY)), tags_of(order, &from.of));
        let mut patience = Patience::new(&self.cx.clock);
        loop {
            match rds.copy_snapshot(from, &from.id, key, &tags).await {
                Err(error) if rds::exists_already(&error) => {
                    return self.ours(rds, from.unit, &from.id, &order.belonging, shutdown).await;
                }
                Err(error) if rds::is_over_quota(&error) => {
                    if !rds::is_copying_enough(&error) && !has_room(rds, from.unit).await {
                        return Err(over_quota(rds.region(), from.unit).hint(quota_hint(from.unit)).source(error));
                    }
                    patience.answered();
                    tracing::info!(region = rds.region(), %error, "RDS copies as many snapshots as it may; asking again");
                }
                // That the original is complete is not known there at once.
                Err(error) if rds::is_busy(&error) && patience.may_be_invisible() => patience.answered(),
                Err(error) => patience.bear(error, rds).await?,
                begun => return begun,
            }
            shutdown.guard(patience.pause()).await?;
        }
    }

    /// Deletes what a copy that failed left, as far as AWS lets: nothing will name it.
    pub(super) async fn drop_copy(&self, from: &Snapshot, region: &str, belonging: &Belonging) {
        let outcome = async {
            let rds = Rds::connect(region).await?;
            match rds.snapshot(from.unit, &from.id).await? {
                Some(found) if belonging.marks(&found.tags) => self.delete(&rds, &found).await,
                _ => Ok(false),
            }
        };
        if let Err(error) = outcome.await {
            tracing::warn!(%error, region, snapshot = from.id, "what a failed copy left could not be deleted");
        }
    }

    /// The snapshot `id` that AWS says is there, once it is seen; an error if it is not of this backup.
    async fn ours(&self, rds: &mut Rds, unit: Unit, id: &str, belonging: &Belonging, shutdown: &Shutdown) -> Result<Snapshot> {
        let mut patience = Patience::new(&self.cx.clock);
        loop {
            match rds.snapshot(unit, id).await {
                Ok(Some(found)) if belonging.marks(&found.tags) => return Ok(found),
                Ok(None) if patience.may_be_invisible() => patience.answered(),
                Ok(_) => return Err(not_ours(rds.region(), id)),
                Err(error) => patience.bear(error, rds).await?,
            }
            shutdown.guard(patience.pause()).await?;
        }
    }
}

/// Whether the account may have another manual snapshot there; where AWS does not say, no.
async fn has_room(rds: &Rds, unit: Unit) -> bool {
    rds.quota(unit).await.is_ok_and(|quota| quota.is_some_and(|q| q.used < q.max))
}

pub(super) fn not_ours(region: &str, id: &str) -> Error {
    Error::conflict(format!("there is a snapshot {id} in {region} already, and it does not carry our tags"))
        .hint("somebody else made it, or took its tags away: look at it, and back up again")
}

fn over_quota(region: &str, unit: Unit) -> Error {
    Error::denied(format!("the quota of manual snapshots of a {} in {region} is used up", unit.noun())).over_quota()
}

fn quota_hint(unit: Unit) -> String {
    format!(
        "RDS allows 100 for each account and region unless asked for more ({} in Service Quotas): `pgkeep prune POLICY --yes` deletes backups that were \
         removed and whose grace period is over, also after this; snapshots of others count too",
        unit.quota()
    )
}

/// Identifier of a backup's snapshots, the same in every region: letters, digits and single hyphens, lower case as RDS keeps it. A long name of a
/// policy is cut; the backup's id is not.
fn identifier(belonging: &Belonging) -> String {
    let plain = |text: &str| {
        let mut plain = String::new();
        for c in text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }) {
            if c != '-' || !plain.is_empty() && !plain.ends_with('-') {
                plain.push(c);
            }
        }
        plain
    };
    let backup = plain(belonging.backup.as_str());
    let mut id = plain(&format!("pgkeep-{}", belonging.policy));
    id.truncate(LONGEST - 1 - backup.len());
    format!("{}-{backup}", id.trim_end_matches('-'))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_what_rds_takes_of_instances_and_clusters() {
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
        // Cut in every place, before and after a hyphen.
        for length in 1..=64 {
            for policy in ["a".repeat(length), "a-".repeat(length), "_.".repeat(length)] {
                let id = of(&policy[..length.min(policy.len())]);
                assert!(id.len() <= 63 && id.ends_with("-20261122t021500z-7f3a") && id.starts_with("pgkeep"), "{id}");
                assert!(!id.contains("--") && id.chars().all(|c| c == '-' || c.is_ascii_alphanumeric()), "{id}");
            }
        }
        assert_eq!(of(&"a".repeat(64)).len(), 63);
    }

    #[test]
    fn only_states_that_pass_are_waited_for() {
        for status in ["available", "backing-up", "configuring-enhanced-monitoring", "resetting-master-credentials"] {
            assert!(passes(status), "{status}");
        }
        let stuck =
            ["stopped", "stopping", "storage-full", "incompatible-create", "inaccessible-encryption-credentials-recoverable"];
        for status in stuck.into_iter().chain(["failed", "deleting", ""]) {
            assert!(!passes(status), "{status}");
        }
    }
}
