//! `pgkeep pin`, `unpin` and `undelete`.

use super::args::{BackupRef, PinArgs};
use super::output::Report;
use crate::base::Result;
use crate::jobs::{Context, pins};

/// Protects a backup.
pub(super) async fn pin(cx: &Context, args: &PinArgs) -> Result<Report> {
    let report = pins::pin(cx, &args.policy, &args.backup, args.reason.as_deref()).await?;
    let also = if report.acknowledged { " and its suspicion acknowledged" } else { "" };
    Report::new(&report, format!("{} is pinned{also}: retention leaves it alone\n", report.backup))
}

/// Removes the protection.
pub(super) async fn unpin(cx: &Context, args: &BackupRef) -> Result<Report> {
    let report = pins::unpin(cx, &args.policy, &args.backup).await?;
    Report::new(&report, format!("{} is not pinned any more\n", report.backup))
}

/// Takes a removed backup back.
pub(super) async fn undelete(cx: &Context, args: &BackupRef) -> Result<Report> {
    let report = pins::undelete(cx, &args.policy, &args.backup).await?;
    let hint = if report.pinned { "" } else { "; pin it, or the next prune removes it again" };
    Report::new(&report, format!("{} is back{hint}\n", report.backup))
}
