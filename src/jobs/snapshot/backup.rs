//! A backup by snapshots: take, wait until complete, commit. Whatever goes wrong before the commit, the snapshots are deleted again.

use std::collections::{BTreeSet, HashSet};
use std::sync::PoisonError;

use super::drift;
use super::{Commands, Order, Snapshots, Taken};
use crate::base::clock;
use crate::base::{Error, Result};
use crate::cloud::tags::Belonging;
use crate::jobs::backup::Work;
use crate::jobs::run::Recorder;
use crate::jobs::source::{SnapshotSummary, SourceSummary};
use crate::policy::model::Source;
use crate::repo::commit::Commit;
use crate::repo::head::Head;

/// Below this share of the last good backup's members, a set is suspicious.
const SUSPICIOUS_SHARE: usize = 2;

/// Takes the snapshots and commits them as a backup.
pub(in crate::jobs) async fn run(work: &Work<'_>, snapshots: &dyn Snapshots, recorder: &mut Recorder) -> Result<Head> {
    let started_at = work.cx.clock.now();
    let (writer, last_good) = work.begin().await?;
    let cleared = async {
        clear(work, snapshots).await;
        Ok(())
    };
    work.shutdown.guard(cleared).await?;
    let order = Order {
        belonging: Belonging {
            policy: work.vault.policy().to_owned(),
            vault: work.vault.info().vault_id.clone(),
            backup: work.id.clone(),
            account: None,
        },
        label: work.options.label.clone(),
        commands: Commands::default(),
    };
    let taken = take(work, snapshots, &order, recorder).await;
    recorder.commands(std::mem::take(&mut *order.commands.lock().unwrap_or_else(PoisonError::into_inner)));
    let taken = match taken {
        Ok(taken) => taken,
        Err(error) => {
            abandon(snapshots, &order.belonging).await;
            return Err(error);
        }
    };
    let last_good = last_good.and_then(|head| SourceSummary::of(&head).ok()).and_then(|s| s.snapshots().cloned());
    let (mut anomalies, mut warnings) = compare(&taken.summary, last_good.as_ref());
    anomalies.extend(taken.anomalies.iter().cloned());
    warnings.splice(0..0, taken.warnings.iter().cloned().chain(work.first_of_vault()));
    let members = taken.summary.snapshots.clone();
    let commit = Commit {
        started_at,
        consistent_at: taken.consistent_at,
        label: order.label.clone(),
        keep_until: work.options.keep_for.map(|d| clock::add(taken.consistent_at, d)),
        objects: taken.summary.snapshots.len() as u64,
        source: serde_json::to_value(summary(&work.policy.source, taken.summary)?)
            .map_err(|e| Error::internal("write the source's summary").source(e))?,
        anomalies,
        warnings,
        documents: taken.documents,
        tables: 0,
    };
    // From here on the head may exist even when an answer says otherwise: its snapshots stay. Those of a commit that failed for good are deleted by
    // the next run, which sees that nothing names them.
    let head = work.commit(writer, commit, recorder).await?;
    match snapshots.settle(&members, work.shutdown).await {
        Ok(()) => Ok(head),
        Err(error) => {
            Err(error.context(format!("backup {} is complete, but its snapshots could not be archived or locked", work.id)))
        }
    }
}

async fn take(work: &Work<'_>, snapshots: &dyn Snapshots, order: &Order, recorder: &mut Recorder) -> Result<Taken> {
    recorder.stage("snapshot");
    let mut taken = snapshots.take(order, work.shutdown).await?;
    recorder.stage("complete");
    snapshots.complete(order, &mut taken, work.shutdown).await?;
    recorder.end_stage(taken.summary.bytes());
    // Long waits are where a lease gets lost; whoever has it now may be deleting what this run took.
    work.lease.check()?;
    Ok(taken)
}

async fn abandon(snapshots: &dyn Snapshots, belonging: &Belonging) {
    match snapshots.abandon(belonging, &BTreeSet::new()).await {
        Ok(0) => {}
        Ok(n) => tracing::info!(backup = %belonging.backup, snapshots = n, "the snapshots of a failed run were deleted"),
        Err(error) => {
            tracing::warn!(%error, backup = %belonging.backup, "the snapshots of a failed run stay; the next backup deletes them");
        }
    }
}

/// Deletes what earlier runs of this vault left behind when they were killed or could not clean up. What stands in the way of that must not stand in the
/// way of a backup.
async fn clear(work: &Work<'_>, snapshots: &dyn Snapshots) {
    let left = match drift::left_by_runs(work.vault, snapshots, work.policy, work.id).await {
        Ok(left) => left,
        Err(error) => {
            tracing::warn!(%error, "whether earlier runs left snapshots could not be found out; the next backup looks again");
            return;
        }
    };
    for (left, regions) in left {
        match snapshots.abandon(&left, &regions).await {
            Ok(n) => {
                tracing::info!(backup = %left.backup, snapshots = n, "the snapshots of an earlier run that did not end were deleted");
            }
            Err(error) => tracing::warn!(%error, backup = %left.backup, "snapshots of an earlier run could not be deleted"),
        }
    }
}

fn summary(source: &Source, summary: SnapshotSummary) -> Result<SourceSummary> {
    match source {
        Source::Ebs(_) => Ok(SourceSummary::Ebs(summary)),
        Source::Rds(_) => Ok(SourceSummary::Rds(summary)),
        Source::Postgres(_) => Err(Error::internal("a database has no snapshots in AWS")),
    }
}

/// What the set lacks against the last good one: anomalies, and warnings.
fn compare(now: &SnapshotSummary, last: Option<&SnapshotSummary>) -> (Vec<String>, Vec<String>) {
    let Some(last) = last else { return (Vec::new(), Vec::new()) };
    let there: HashSet<&str> = now.originals().map(|s| s.of.as_str()).collect();
    let missing: Vec<&str> = last.originals().map(|s| s.of.as_str()).filter(|of| !there.contains(of)).collect();
    if missing.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let text = format!("not in this backup, and in the last good one: {}", missing.join(", "));
    if there.len() * SUSPICIOUS_SHARE < last.originals().count() { (vec![text], Vec::new()) } else { (Vec::new(), vec![text]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::source::SnapshotRef;

    fn set(volumes: &[&str]) -> SnapshotSummary {
        let snapshot = |of: &&str| SnapshotRef {
            region: "eu-west-1".to_owned(),
            id: format!("snap-{of}"),
            of: (*of).to_owned(),
            bytes: 1,
            copy_of: None,
        };
        SnapshotSummary {
            account: None,
            region: "eu-west-1".to_owned(),
            of: "i-1".to_owned(),
            consistent_set: true,
            snapshots: volumes.iter().map(snapshot).collect(),
        }
    }

    #[test]
    fn a_set_that_shrinks_is_told_and_one_that_loses_most_is_suspicious() {
        let last = set(&["a", "b", "c"]);
        assert_eq!(compare(&set(&["a", "b", "c", "d"]), Some(&last)), (vec![], vec![]));
        assert_eq!(compare(&set(&["a", "b"]), Some(&last)).1.len(), 1);
        assert_eq!(compare(&set(&["a"]), Some(&last)).0.len(), 1);
        assert_eq!(compare(&set(&["a"]), None), (vec![], vec![]));
    }
}
