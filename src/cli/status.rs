//! `pgkeep status`.

use std::fmt::Write as _;
use std::time::Duration;

use super::args::StatusArgs;
use super::output::{Report, table};
use crate::base::Result;
use crate::base::units::format_duration;
use crate::jobs::Context;
use crate::jobs::health::{StatusReport, status};

/// Says whether policies keep their promise.
pub(super) async fn run(cx: &Context, args: &StatusArgs) -> Result<Report> {
    let report = status(cx, args.policy.as_deref()).await?;
    Ok(Report::new(&report, text(&report))?.failing(report.failure()))
}

fn text(report: &StatusReport) -> String {
    let age = |seconds: Option<u64>| seconds.map_or_else(|| "-".to_owned(), |s| format_duration(Duration::from_secs(s)));
    let rows = report.policies.iter().map(|p| {
        vec![
            p.policy.clone(),
            if p.healthy { "ok" } else { "NOT OK" }.to_owned(),
            p.consistent_at.map_or_else(|| "never".to_owned(), |t| t.to_string()),
            age(p.age_seconds),
            age(p.max_age_seconds),
            p.last_proof_at.map_or_else(|| "never".to_owned(), |t| t.to_string()),
            p.restore_seconds.map_or_else(|| "-".to_owned(), |s| format_duration(Duration::from_secs_f64(s))),
            p.next_run.map_or_else(|| "-".to_owned(), |t| t.to_string()),
            p.backups.to_string(),
        ]
    });
    let header = ["POLICY", "STATE", "CAN GO BACK TO", "AGE", "PROMISE", "LAST DRILL", "RESTORE TOOK", "NEXT RUN", "BACKUPS"];
    let mut out = table(&header, &[8], rows.collect());
    for policy in &report.policies {
        for problem in &policy.problems {
            let _ = writeln!(out, "{}: {problem}", policy.policy);
        }
    }
    out
}
