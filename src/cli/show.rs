//! `pgkeep show`.

use std::fmt::Write as _;

use super::args::ShowArgs;
use super::output::{Report, table};
use crate::base::Result;
use crate::base::units::{format_bytes, format_count};
use crate::jobs::Context;
use crate::jobs::list::{ShowReport, show};
use crate::jobs::source::SnapshotSummary;

const TABLES_SHOWN: usize = 40;

/// Shows one backup.
pub(super) async fn run(cx: &Context, args: &ShowArgs) -> Result<Report> {
    let report = show(cx, &args.policy, args.backup.as_deref()).await?;
    Report::new(&report, text(&report))
}

fn text(report: &ShowReport) -> String {
    let mut out = String::new();
    let row = &report.row;
    let _ = writeln!(out, "backup   {} of {} in {}", row.backup, row.policy, report.vault);
    let _ = writeln!(out, "source   {}", report.source.describe());
    let _ = writeln!(out, "shows    {}, committed {}", row.consistent_at, row.committed_at);
    let _ = writeln!(out, "made by  {}", report.tool);
    if let Some(label) = &row.label {
        let _ = writeln!(out, "label    {label}");
    }
    if let Some(pin) = &report.pin {
        let _ = writeln!(out, "pinned   {} by {}: {}", pin.at, pin.by, pin.reason.as_deref().unwrap_or("no reason given"));
    }
    if let Some(set) = report.source.snapshots() {
        out.push_str(&snapshots(report, set));
        return out;
    }
    let _ = writeln!(
        out,
        "holds    {} objects, {} rows, {} of text",
        format_count(row.counts.objects),
        format_count(row.counts.rows),
        format_bytes(row.counts.plain_bytes)
    );
    let _ = writeln!(out, "stored   {} in {} parts", format_bytes(row.counts.stored_bytes), format_count(row.counts.parts));
    for database in report.source.postgres().map(|s| s.databases.as_slice()).unwrap_or_default() {
        let _ = writeln!(
            out,
            "database {}: {} tables, {} objects, {} rows; snapshot {}{}",
            database.name,
            format_count(database.tables),
            format_count(database.objects),
            format_count(database.rows),
            database.consistent_at,
            database.lsn.as_ref().map(|lsn| format!(" at {lsn}")).unwrap_or_default()
        );
    }
    notes(&mut out, report);
    let kinds: Vec<String> = report.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let _ = writeln!(out, "objects  {}", kinds.join(", "));
    proofs(&mut out, report);
    let _ = writeln!(out);
    let rows = report.tables.iter().take(TABLES_SHOWN).map(|t| {
        vec![
            t.database.clone(),
            format!("{}.{}", t.schema, t.table),
            format_count(t.rows),
            format_bytes(t.bytes),
            t.fingerprint.clone(),
        ]
    });
    out.push_str(&table(&["DATABASE", "TABLE", "ROWS", "TEXT", "FINGERPRINT"], &[2, 3], rows.collect()));
    if report.tables.len() > TABLES_SHOWN {
        let _ = writeln!(out, "… and {} more (--json shows all)", report.tables.len() - TABLES_SHOWN);
    }
    out
}

fn notes(out: &mut String, report: &ShowReport) {
    let suspicious = report.row.anomalies.iter().map(|a| format!("suspicious: {a}"));
    for note in suspicious.chain(report.warnings.iter().map(|w| format!("warning: {w}"))) {
        let _ = writeln!(out, "{note}");
    }
}

fn proofs(out: &mut String, report: &ShowReport) {
    for proof in &report.proofs {
        let verdict = if proof.passed { "passed" } else { "FAILED" };
        let _ = writeln!(out, "proof    {} {} {verdict} in {:.1}s", proof.at, proof.level.name(), proof.seconds);
    }
}

fn snapshots(report: &ShowReport, set: &SnapshotSummary) -> String {
    let mut out = String::new();
    let originals = set.originals().count();
    let _ = writeln!(
        out,
        "holds    {originals} snapshots of {}, {} copies",
        format_bytes(set.bytes()),
        set.snapshots.len() - originals
    );
    notes(&mut out, report);
    proofs(&mut out, report);
    let _ = writeln!(out);
    let rows = set.snapshots.iter().map(|s| {
        let copy = s.copy_of.as_ref().map(|id| format!("copy of {id}")).unwrap_or_default();
        vec![s.of.clone(), format_bytes(s.bytes), s.id.clone(), s.region.clone(), copy]
    });
    out.push_str(&table(&["ORIGINAL", "SIZE", "SNAPSHOT", "REGION", "NOTE"], &[1], rows.collect()));
    out
}
