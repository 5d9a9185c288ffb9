//! `pgkeep list`.

use std::fmt::Write as _;

use super::args::ListArgs;
use super::output::{Report, table};
use super::points;
use crate::base::Result;
use crate::base::units::{format_bytes, format_count};
use crate::jobs::Context;
use crate::jobs::list::{BackupRow, ListReport, list};

/// Lists one policy or all.
pub(super) async fn run(cx: &Context, args: &ListArgs) -> Result<Report> {
    let (report, failure) = list(cx, args.policy.as_deref(), args.at.as_deref()).await?;
    let text = match (&args.policy, &args.at) {
        (None, Some(at)) => points::text(&report, at),
        _ => text(&report, args.policy.is_none()),
    };
    Ok(Report::new(&report, text)?.failing(failure))
}

fn text(report: &ListReport, with_policy: bool) -> String {
    let mut out = if report.backups.is_empty() {
        "no backups\n".to_owned()
    } else {
        let mut header = vec!["BACKUP", "SHOWS", "PROVEN", "ROWS", "TEXT", "STORED", "NEW", "LABEL", "NOTES"];
        if with_policy {
            header.insert(0, "POLICY");
        }
        let shift = usize::from(with_policy);
        let right = [3 + shift, 4 + shift, 5 + shift, 6 + shift];
        table(&header, &right, report.backups.iter().map(|row| cells(row, with_policy)).collect())
    };
    for marked in &report.marked {
        let _ = writeln!(
            out,
            "removed: {} {} (shows {}); deleted by a prune after {}; `pgkeep undelete {} {}` brings it back",
            marked.policy, marked.backup, marked.consistent_at, marked.sweep_after, marked.policy, marked.backup
        );
    }
    for problem in &report.problems {
        let _ = writeln!(out, "problem: {problem}");
    }
    out
}

fn cells(row: &BackupRow, with_policy: bool) -> Vec<String> {
    let databases = row.original_bytes.is_none();
    let mut notes = Vec::new();
    if row.damaged {
        notes.push("DAMAGED".to_owned());
    }
    if !row.anomalies.is_empty() {
        notes.push(if row.pinned { "suspicious, acknowledged".to_owned() } else { "SUSPICIOUS".to_owned() });
    }
    if row.pinned {
        notes.push("pinned".to_owned());
    }
    if let Some(until) = row.keep_until {
        notes.push(format!("kept until {until}"));
    }
    let mut cells = vec![
        row.backup.to_string(),
        row.consistent_at.to_string(),
        row.proven.map_or("no", crate::repo::proofs::Level::name).to_owned(),
        if databases { format_count(row.counts.rows) } else { format!("{} {}", row.originals.len(), row.kind) },
        format_bytes(row.original_bytes.unwrap_or(row.counts.plain_bytes)),
        if databases { format_bytes(row.counts.stored_bytes) } else { "in AWS".to_owned() },
        if databases { format_bytes(row.counts.new_stored_bytes) } else { String::new() },
        row.label.clone().unwrap_or_default(),
        notes.join(", "),
    ];
    if with_policy {
        cells.insert(0, row.policy.clone());
    }
    cells
}
