//! `pgkeep restore`.

use std::fmt::Write as _;
use std::time::Duration;

use super::args::RestoreArgs;
use super::output::{Report, confirm, write_out};
use super::restore_snapshots;
use crate::base::units::{format_bytes, format_count, format_duration};
use crate::base::{Error, Result};
use crate::jobs::Context;
use crate::jobs::restore::{PlannedRestore, RestoreReport, RestoreRequest, execute, plan};
use crate::jobs::select::Choice;
use crate::pg::restore::RestoreOptions;

const LINES_SHOWN: usize = 100;

/// Plans, shows, asks where something could be lost, and restores.
pub(super) async fn run(cx: &Context, args: &RestoreArgs, json: bool) -> Result<Report> {
    if let Some(target) = restore_snapshots::target(&args.snapshots) {
        return restore_snapshots::run(cx, args, target, json).await;
    }
    let Some(to) = &args.to else {
        return Err(Error::usage("where to is not said")
            .hint("--to URL for databases, --to-zone ZONE for EBS volumes, --to-instance NAME for RDS"));
    };
    let planned = cx.shutdown.guard(plan(cx, &args.policy, &request(args, to))).await?;
    if args.plan {
        let report = Report::new(&planned, plan_text(&planned));
        planned.abandon().await;
        return report;
    }
    if !json {
        write_out(&plan_text(&planned));
    }
    let drops: usize = planned.databases.iter().map(|d| d.plan.drop.len()).sum();
    let emptied: usize = planned.databases.iter().map(|d| d.plan.emptied().count()).sum();
    if drops + emptied > 0 && !args.yes {
        let question = format!("Drop {drops} objects and empty {emptied} tables in the target, and restore?");
        match if json { None } else { confirm(&question) } {
            Some(true) => {}
            Some(false) => {
                planned.abandon().await;
                return Err(Error::cancelled("nothing was changed"));
            }
            None => {
                planned.abandon().await;
                return Err(Error::usage(format!(
                    "nothing was changed: --clean drops {drops} objects and empties {emptied} tables in the target, and needs a yes"
                ))
                .hint("look at --plan, then run again with --yes"));
            }
        }
    }
    let report = execute(cx, planned).await?;
    Ok(Report::new(&report, text(&report))?.failing(report.failure()))
}

fn request(args: &RestoreArgs, to: &str) -> RestoreRequest {
    RestoreRequest {
        choice: Choice { at: args.selection.at.clone(), backup: args.selection.backup.clone(), label: args.label.clone() },
        to: to.to_owned(),
        database: args.database.clone(),
        role_map: args.role_map.clone(),
        jobs: args.jobs,
        options: RestoreOptions {
            tables: args.table.clone(),
            schemas: args.schema.clone(),
            schema_only: args.schema_only,
            data_only: args.data_only,
            no_owner: args.no_owner,
            no_privileges: args.no_privileges,
            clean: args.clean,
            ..RestoreOptions::default()
        },
    }
}

fn plan_text(planned: &PlannedRestore) -> String {
    let mut out = String::new();
    let lost = format_duration(Duration::from_secs(planned.loss_seconds));
    let _ = writeln!(out, "backup   {} of {}", planned.backup, planned.policy);
    let _ = writeln!(out, "shows    {}; what came in the {lost} since then is not in it", planned.consistent_at);
    for warning in &planned.backup_warnings {
        let _ = writeln!(out, "note     {warning}");
    }
    for database in &planned.databases {
        let _ = writeln!(out, "{}", database.plan.to_string().trim_end());
    }
    out
}

fn text(report: &RestoreReport) -> String {
    let mut out = String::new();
    for database in &report.databases {
        let outcome = &database.outcome;
        let state = if outcome.is_complete() { "restored" } else { "RESTORED IN PART" };
        let _ = writeln!(
            out,
            "{state} {} into {}: {} objects, {} rows, {} of text in {}",
            database.database,
            database.target,
            format_count(outcome.objects),
            format_count(outcome.rows),
            format_bytes(outcome.bytes),
            format_duration(Duration::from_secs_f64(outcome.seconds))
        );
        let errors = outcome.errors.iter().map(|e| {
            let state = e.sqlstate.as_ref().map(|s| format!(" [{s}]")).unwrap_or_default();
            format!("error: {}: {}{state}; statement: {}", e.entry, e.message, e.statement)
        });
        let skipped = outcome.skipped.iter().map(|s| format!("not tried: {}, because {} failed", s.entry, s.because));
        let rows =
            outcome.mismatches.iter().map(|m| format!("rows missing: {}: {} of {} are there", m.entry, m.loaded, m.expected));
        let warnings = outcome.warnings.iter().map(|w| format!("warning: {w}"));
        let lines: Vec<String> = errors.chain(skipped).chain(rows).chain(warnings).collect();
        for line in lines.iter().take(LINES_SHOWN) {
            let _ = writeln!(out, "  {line}");
        }
        if lines.len() > LINES_SHOWN {
            let _ = writeln!(out, "  … and {} more (--json shows all)", lines.len() - LINES_SHOWN);
        }
    }
    out
}
