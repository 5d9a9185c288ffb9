//! `pin`, `unpin`, `undelete`: small changes to what retention may do.

use serde::Serialize;

use super::context::Context;
use super::run::under_lease;
use crate::base::Result;
use crate::base::ids::BackupId;
use crate::repo::lease::Purpose;
use crate::repo::listing::{Listing, Selector};
use crate::repo::{gc, pins};

/// The document of `pin`, `unpin` and `undelete`.
#[derive(Debug, Serialize)]
pub struct PinReport {
    /// The policy.
    pub policy: String,
    /// The backup.
    pub backup: BackupId,
    /// Whether it is pinned now.
    pub pinned: bool,
    /// Whether its suspicion is acknowledged by this.
    pub acknowledged: bool,
}

/// Protects a backup from retention.
pub async fn pin(cx: &Context, policy: &str, backup: &str, reason: Option<&str>) -> Result<PinReport> {
    let id: BackupId = backup.parse()?;
    let (_, vault) = cx.vault(policy).await?;
    let listing = Listing::read(&vault).await?;
    let acknowledged = !listing.find(&Selector::Backup(id.clone()))?.anomalies.is_empty();
    pins::pin(&vault, &id, reason, &who(cx)).await?;
    Ok(PinReport { policy: policy.to_owned(), backup: id, pinned: true, acknowledged })
}

/// Removes the protection.
pub async fn unpin(cx: &Context, policy: &str, backup: &str) -> Result<PinReport> {
    let id: BackupId = backup.parse()?;
    let (_, vault) = cx.vault(policy).await?;
    Listing::read(&vault).await?.find(&Selector::Backup(id.clone()))?;
    pins::unpin(&vault, &id).await?;
    Ok(PinReport { policy: policy.to_owned(), backup: id, pinned: false, acknowledged: false })
}

/// Takes a marked backup back.
pub async fn undelete(cx: &Context, policy: &str, backup: &str) -> Result<PinReport> {
    let id: BackupId = backup.parse()?;
    let (_, vault) = cx.vault(policy).await?;
    let (held, marked) = (&vault, &id);
    under_lease(cx, held, "undelete", Purpose::Write, |lease, _| async move { gc::undelete(held, &lease, marked).await }).await?;
    let pinned = pins::all(&vault).await?.iter().any(|p| p.backup == id);
    Ok(PinReport { policy: policy.to_owned(), backup: id, pinned, acknowledged: false })
}

fn who(cx: &Context) -> String {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "unknown".to_owned());
    format!("{user}@{}", cx.owner("pin").host)
}
