//! `pgkeep doctor`.

use std::fmt::Write as _;

use super::args::DoctorArgs;
use super::output::Report;
use crate::base::Result;
use crate::daemon::notify::check;
use crate::jobs::Context;
use crate::jobs::doctor::{DoctorReport, Verdict, doctor};

/// Checks everything that runs will need.
pub(super) async fn run(cx: &Context, args: &DoctorArgs) -> Result<Report> {
    let policy = args.policy.as_deref();
    let mut report = doctor(cx, policy).await?;
    check::examine(cx, policy, args.notify, &mut report).await;
    Ok(Report::new(&report, text(&report))?.failing(report.failure()))
}

fn text(report: &DoctorReport) -> String {
    let mut out = String::new();
    for check in &report.checks {
        let verdict = match check.verdict {
            Verdict::Pass => "ok  ",
            Verdict::Warn => "note",
            Verdict::Fail => "FAIL",
        };
        let _ = writeln!(out, "{verdict}  {}  {}: {}", check.policy, check.check, check.message);
        if let Some(hint) = &check.hint {
            let _ = writeln!(out, "      {hint}");
        }
    }
    out
}
