//! Whether the snapshots of a backup are there: the levels of verification as they apply to snapshots.

use super::{Snapshots, of_summary};
use crate::base::{Error, Result};
use crate::cloud::tags::Belonging;
use crate::jobs::context::Context;
use crate::jobs::source::{SnapshotRef, SnapshotSummary, SourceSummary};
use crate::policy::Policy;
use crate::repo::Vault;
use crate::repo::head::Head;
use crate::repo::proofs::Level;
use crate::repo::verify::Finding;

/// How deep a backup of `summary` can be verified when `level` is wanted. `asked`: by a person now, who must be told; a policy's level, which may come
/// from a section that all policies share, means as deep as it goes.
pub fn level(summary: &SourceSummary, level: Level, asked: bool) -> Result<Level> {
    if summary.snapshots().is_none() || level == Level::Presence {
        return Ok(level);
    }
    if asked {
        return Err(Error::unsupported(format!(
            "backups of kind '{}' cannot be verified at level {}: AWS keeps the data and checks it, and shows none of it",
            summary.kind(),
            level.name()
        ))
        .hint("--level presence asks AWS for every snapshot; a restore beside the original, once in a while, proves the rest"));
    }
    Ok(Level::Presence)
}

/// What is wrong with the snapshots of `head`; `None`: it has none.
pub async fn check(cx: &Context, vault: &Vault, policy: Option<&Policy>, head: &Head) -> Result<Option<Vec<Finding>>> {
    let summary = SourceSummary::of(head)?;
    let Some(set) = summary.snapshots() else { return Ok(None) };
    let snapshots: Box<dyn Snapshots> = of_summary(cx, &summary, policy)?;
    cx.progress.stage("presence", Some(set.bytes()));
    let findings = snapshots.presence(&belonging(vault, head, set), &set.snapshots).await?;
    cx.progress.advance(set.bytes());
    Ok(Some(findings))
}

/// Whose the snapshots of `head` are, which are `set`.
pub fn belonging(vault: &Vault, head: &Head, set: &SnapshotSummary) -> Belonging {
    Belonging {
        policy: head.policy.clone(),
        vault: vault.info().vault_id.clone(),
        backup: head.backup.clone(),
        account: set.account.clone(),
    }
}

/// A finding about one snapshot.
pub fn finding(id: &str, snapshot: &SnapshotRef, message: &str) -> Finding {
    Finding::damage(id, &snapshot.id, format!("snapshot {} of {} in {} {message}", snapshot.id, snapshot.of, snapshot.region))
}
