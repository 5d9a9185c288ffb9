//! `pgkeep verify`.

use std::fmt::Write as _;

use super::args::{LevelArg, VerifyArgs};
use super::output::Report;
use crate::base::Result;
use crate::base::units::{format_bytes, format_count, format_duration};
use crate::daemon::runner::Runner;
use crate::jobs::Context;
use crate::jobs::select::Choice;
use crate::jobs::verify::{VerifyReport, VerifyRequest};
use crate::repo::proofs::{Level, Proof};
use crate::repo::verify::Severity;

const FINDINGS_SHOWN: usize = 50;

/// Proves the chosen backups.
pub(super) async fn run(cx: &Context, args: &VerifyArgs) -> Result<Report> {
    let request = VerifyRequest {
        choice: Choice { at: args.selection.at.clone(), backup: args.selection.backup.clone(), label: None },
        all: args.all,
        level: args.level.map(|l| match l {
            LevelArg::Presence => Level::Presence,
            LevelArg::Content => Level::Content,
            LevelArg::Restore => Level::Restore,
        }),
        scratch: args.scratch.clone(),
        ..VerifyRequest::default()
    };
    let report = Runner::new(cx).verify(&args.policy, &request).await?;
    Ok(Report::new(&report, text(&report))?.failing(report.failure()))
}

fn text(report: &VerifyReport) -> String {
    let mut out = String::new();
    for proof in &report.proofs {
        let verdict = if proof.passed { "proven" } else { "FAILED" };
        let took = format_duration(std::time::Duration::from_secs_f64(proof.seconds));
        let _ = writeln!(out, "{verdict}  {} {} in {took}{}", proof.backup, proof.level.name(), measured(proof));
        for finding in proof.findings.iter().take(FINDINGS_SHOWN) {
            let severity = if finding.severity == Severity::Damage { "damage" } else { "warning" };
            let _ = writeln!(out, "  {severity}: {} [{}]", finding.message, finding.id);
            if !finding.streams.is_empty() {
                let _ = writeln!(out, "    hits: {}", finding.streams.join(", "));
            }
        }
        if proof.findings.len() > FINDINGS_SHOWN {
            let _ = writeln!(out, "  … and {} more (--json shows all)", proof.findings.len() - FINDINGS_SHOWN);
        }
    }
    for one in &report.unverified {
        let _ = writeln!(out, "not verified: {}: {}", one.backup, one.error);
    }
    for damaged in &report.damaged_heads {
        let _ = writeln!(out, "FAILED  {damaged}");
    }
    out
}

fn measured(proof: &Proof) -> String {
    let mut out = String::new();
    for d in proof.details["databases"].as_array().into_iter().flatten() {
        let _ = write!(
            out,
            "\n  {}: restored in {:.1}s on a throwaway server ({}), compared {} objects and {} rows in {} tables with the source's snapshot ({})",
            d["database"].as_str().unwrap_or_default(),
            d["restore_seconds"].as_f64().unwrap_or_default(),
            proof.details["scratch"].as_str().unwrap_or_default(),
            format_count(d["objects"].as_u64().unwrap_or_default()),
            format_count(d["rows"].as_u64().unwrap_or_default()),
            format_count(d["tables"].as_u64().unwrap_or_default()),
            format_bytes(d["bytes"].as_u64().unwrap_or_default()),
        );
    }
    if let Some(snapshots) = proof.details["snapshots"].as_u64() {
        let _ = write!(out, ": {} snapshots", format_count(snapshots));
    } else if let Some(parts) = proof.details["parts"].as_u64() {
        let _ = write!(out, ": {} parts", format_count(parts));
    }
    out
}
