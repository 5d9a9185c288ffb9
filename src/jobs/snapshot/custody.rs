//! Deletes the snapshots of backups that are swept: after their heads, before their tombstones.

use async_trait::async_trait;

use super::of_summary;
use super::presence::belonging;
use crate::base::Result;
use crate::jobs::context::Context;
use crate::jobs::source::SourceSummary;
use crate::policy::Policy;
use crate::repo::Vault;
use crate::repo::head::Head;
use crate::repo::sweep::Outside;

/// What a vault's backups own in AWS.
#[derive(Debug)]
pub struct Custody<'a> {
    /// Clock, credentials, progress.
    pub cx: &'a Context,
    /// The vault.
    pub vault: &'a Vault,
    /// Its policy, if there is one.
    pub policy: Option<&'a Policy>,
}

#[async_trait]
impl Outside for Custody<'_> {
    async fn release(&self, head: &Head) -> Result<Option<String>> {
        let summary = SourceSummary::of(head)?;
        let Some(set) = summary.snapshots() else { return Ok(None) };
        let snapshots = of_summary(self.cx, &summary, self.policy)?;
        let released = snapshots.release(&belonging(self.vault, head, set), &set.snapshots).await?;
        for id in &released.left {
            tracing::warn!(backup = %head.backup, snapshot = id, "the snapshot no longer carries our tags and was left alone");
        }
        tracing::info!(backup = %head.backup, snapshots = released.deleted, "snapshots deleted");
        if let Some(why) = &released.held {
            tracing::warn!(backup = %head.backup, "{why}; the next prune tries again");
        }
        Ok(released.held)
    }
}
