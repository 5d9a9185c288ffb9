//! `pgkeep prune`.

use std::fmt::Write as _;

use super::args::PruneArgs;
use super::output::{Report, confirm, table, write_out};
use crate::base::units::{format_bytes, format_count};
use crate::base::{Error, Result};
use crate::daemon::runner::Runner;
use crate::jobs::Context;
use crate::jobs::prune::{PlannedPrune, plan};
use crate::jobs::run::Order;
use crate::jobs::snapshot::drift::Drift;
use crate::repo::sweep::Pruned;

/// Shows the plan; applies it after a yes.
pub(super) async fn run(cx: &Context, args: &PruneArgs, json: bool) -> Result<Report> {
    let runner = Runner::new(cx);
    let (planned, refusal) = if args.yes && !args.plan {
        // Nobody is asked, so nobody may be watching.
        runner.plan_prune(&args.policy, args.force_large, &Order::default()).await?
    } else {
        let planned = cx.shutdown.guard(plan(cx, &args.policy)).await?;
        let refusal = planned.refusal(args.force_large);
        (planned, refusal)
    };
    if args.plan {
        return Report::new(&planned, text(&planned));
    }
    if let Some(refusal) = refusal {
        return Ok(Report::new(&planned, text(&planned))?.failing(Some(refusal)));
    }
    if planned.is_empty() {
        return Report::new(&planned, text(&planned));
    }
    if !args.yes {
        if !json {
            write_out(&text(&planned));
        }
        match if json { None } else { confirm("Apply this plan?") } {
            Some(true) => {}
            Some(false) => return Err(Error::cancelled("nothing was removed")),
            None => {
                return Err(
                    Error::usage("nothing was removed: this plan needs a yes").hint("look at --plan, then run again with --yes")
                );
            }
        }
    }
    let done = runner.prune(&planned, args.force_large, &Order::default()).await?;
    let document = serde_json::json!({ "policy": planned.policy, "decision": planned.decision, "plan": planned.plan, "refused": planned.refused,
                            "done": done });
    let shown = if args.yes { text(&planned) } else { String::new() };
    Report::new(&document, format!("{shown}{}", done_text(&done, &planned.policy)))
}

fn text(planned: &PlannedPrune) -> String {
    let rows = planned.decision.verdicts().iter().map(|v| {
        let action = if v.keep() { "keep" } else { "remove" };
        vec![v.id.to_string(), v.consistent_at.to_string(), action.to_owned(), v.text()]
    });
    let mut out = table(&["BACKUP", "SHOWS", "ACTION", "WHY"], &[], rows.collect());
    let plan = &planned.plan;
    for backup in &plan.sweep {
        let _ = writeln!(out, "delete: {backup}, whose grace period is over");
    }
    for waiting in &plan.waiting {
        let _ = writeln!(out, "wait: {} ({})", waiting.backup, waiting.reason);
    }
    let amounts = [
        ("parts that only these backups name", plan.freed),
        ("parts that nothing names, marked", plan.unreferenced),
        ("parts marked earlier, deleted", plan.swept_unreferenced),
    ];
    for (what, amount) in amounts.iter().filter(|(_, a)| a.count > 0) {
        let _ = writeln!(out, "{what}: {}, {}", format_count(amount.count), format_bytes(amount.bytes));
    }
    if planned.is_empty() {
        let _ = writeln!(out, "nothing to do");
    }
    if let Some(drift) = &planned.drift {
        out.push_str(&drift_text(drift));
    }
    if let Some(refusal) = &planned.refused {
        let _ = writeln!(out, "{refusal}");
        if !planned.plan.sweep.is_empty() && planned.refusal(true).is_none() {
            let _ = writeln!(out, "only what was marked earlier, and whose grace period is over, is deleted");
        }
    }
    out
}

fn done_text(done: &Pruned, policy: &str) -> String {
    let mut out = String::new();
    if !done.marked.is_empty() {
        let _ = writeln!(
            out,
            "removed {} backups; `pgkeep undelete {policy} BACKUP` brings one back until it is swept",
            done.marked.len()
        );
    }
    if !done.swept.is_empty() || done.parts.count > 0 {
        let _ = writeln!(
            out,
            "deleted {} backups whose grace period was over, {} parts, {}",
            done.swept.len(),
            format_count(done.parts.count),
            format_bytes(done.parts.bytes)
        );
    }
    for held in &done.held {
        let _ = writeln!(out, "kept for now: snapshots of {}: {}; the next prune tries again", held.backup, held.reason);
    }
    out
}

fn drift_text(drift: &Drift) -> String {
    let mut out = String::new();
    for missing in &drift.missing {
        let what = if missing.untagged { "untagged" } else { "gone" };
        let _ = writeln!(
            out,
            "{what}: snapshot {} of {} in {}, which backup {} names",
            missing.snapshot, missing.of, missing.region, missing.backup
        );
    }
    for unknown in &drift.unknown {
        let what = if unknown.left_by_run {
            "was left by a run that did not end; the next backup deletes it"
        } else {
            "carries our tags and no backup names it; delete it by hand if nobody needs it"
        };
        let _ = writeln!(out, "unknown: snapshot {} of {} in {} {what}", unknown.snapshot, unknown.of, unknown.region);
    }
    out
}
