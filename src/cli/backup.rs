//! `pgkeep backup`.

use std::fmt::Write as _;

use super::args::BackupArgs;
use super::output::Report;
use crate::base::units::{format_bytes, format_count, format_duration, parse_duration};
use crate::base::{Error, Result};
use crate::daemon::runner::Runner;
use crate::jobs::Context;
use crate::jobs::backup::{BackupOptions, BackupReport};
use crate::jobs::source::SourceSummary;
use crate::repo::head::Counts;

/// Runs the policies one after another. One is reported as it is, several as a list; the first failure decides the exit code, and does not keep the
/// others from their turn.
pub(super) async fn run(cx: &Context, args: &BackupArgs) -> Result<Report> {
    let options = BackupOptions {
        label: args.label.clone(),
        pin: args.pin,
        keep_for: args.keep_for.as_deref().map(parse_duration).transpose()?,
        ..BackupOptions::default()
    };
    let runner = Runner::new(cx);
    if let [one] = args.policies.as_slice() {
        let report = runner.backup(one, &options).await?;
        return Ok(Report::new(&report, text(&report))?.failing(report.failure()));
    }
    let (mut documents, mut texts, mut failure) = (Vec::new(), String::new(), None::<Error>);
    for name in &args.policies {
        if cx.shutdown.is_cancelled() {
            failure = failure.or_else(|| cx.shutdown.check().err());
            break;
        }
        match runner.backup(name, &options).await {
            Ok(report) => {
                texts.push_str(&text(&report));
                failure = failure.or_else(|| report.failure());
                documents.push(serde_json::to_value(&report).unwrap_or_default());
            }
            Err(error) => {
                let _ = writeln!(texts, "{name}: failed: {error}");
                documents.push(serde_json::json!({ "policy": name, "error": super::output::error_document(&error) }));
                failure.get_or_insert(error.context(name.clone()));
            }
        }
    }
    Ok(Report::new(&documents, texts)?.failing(failure))
}

fn text(report: &BackupReport) -> String {
    let counts = &report.counts;
    let mut out = String::new();
    let _ = writeln!(out, "backup   {} of {}, committed and proven present in {}", report.backup, report.policy, report.vault);
    let names = report.source.names().join(", ");
    let _ = match &report.source {
        SourceSummary::Postgres(s) => writeln!(out, "source   {names} on {} (PostgreSQL {})", s.server, s.version),
        source => writeln!(out, "source   {names} of {}", source.describe()),
    };
    let _ = writeln!(out, "shows    {}", report.consistent_at);
    match report.source.snapshots() {
        Some(set) => {
            let originals = set.originals().count();
            let copies = set.snapshots.len() - originals;
            let _ = writeln!(out, "holds    {originals} snapshots of {}, {copies} copies", format_bytes(set.bytes()));
        }
        None => held(&mut out, counts),
    }
    let _ = writeln!(
        out,
        "took     {}, {} requests to the store",
        format_duration(std::time::Duration::from_secs_f64(report.seconds)),
        format_count(report.requests)
    );
    for warning in &report.warnings {
        let _ = writeln!(out, "warning  {warning}");
    }
    out
}

fn held(out: &mut String, counts: &Counts) {
    let _ = writeln!(
        out,
        "holds    {} objects, {} tables, {} rows, {} of text in {} parts ({} stored)",
        format_count(counts.objects),
        format_count(counts.tables),
        format_count(counts.rows),
        format_bytes(counts.plain_bytes),
        format_count(counts.parts),
        format_bytes(counts.stored_bytes)
    );
    let _ = writeln!(out, "new      {} parts, {}", format_count(counts.new_parts), format_bytes(counts.new_stored_bytes));
}
