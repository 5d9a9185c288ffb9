//! `pgkeep restore` of backups by snapshots.

use std::fmt::Write as _;
use std::time::Duration;

use super::args::{RestoreArgs, SnapshotTarget};
use super::output::{Report, write_out};
use crate::base::Result;
use crate::base::units::{format_bytes, format_duration};
use crate::jobs::Context;
use crate::jobs::select::Choice;
use crate::jobs::snapshot::restore::{
    PlannedSnapshots, SnapshotRequest, SnapshotsRestored, Target, ToInstance, ToVolumes, execute, plan,
};

/// Where to, if the options say so.
pub(super) fn target(args: &SnapshotTarget) -> Option<Target> {
    if let Some(zone) = &args.to_zone {
        return Some(Target::Volumes(ToVolumes {
            zone: zone.clone(),
            volume_type: args.volume_type.clone(),
            size_gib: args.size,
            attach: args.attach.clone(),
        }));
    }
    args.to_instance.as_ref().map(|name| {
        Target::Instance(ToInstance {
            name: name.clone(),
            region: args.to_region.clone(),
            at: None,
            latest: false,
            point_in_time: args.point_in_time,
            zone: args.availability_zone.clone(),
            class: args.instance_class.clone(),
            subnet_group: args.subnet_group.clone(),
            security_groups: args.security_group.clone(),
            parameter_group: args.parameter_group.clone(),
        })
    })
}

/// Plans, shows and restores. Nothing is asked: nothing that exists is changed.
pub(super) async fn run(cx: &Context, args: &RestoreArgs, target: Target, json: bool) -> Result<Report> {
    let request = SnapshotRequest {
        choice: Choice { at: args.selection.at.clone(), backup: args.selection.backup.clone(), label: args.label.clone() },
        target,
    };
    let planned = cx.shutdown.guard(plan(cx, &args.policy, &request)).await?;
    if args.plan {
        let report = Report::new(&planned, plan_text(&planned));
        planned.abandon().await;
        return report;
    }
    if !json {
        write_out(&plan_text(&planned));
    }
    let done = execute(cx, planned).await?;
    Report::new(&done, text(&done))
}

fn plan_text(planned: &PlannedSnapshots) -> String {
    let mut out = String::new();
    let lost = format_duration(Duration::from_secs(planned.loss_seconds));
    let plan = &planned.plan;
    let _ = writeln!(out, "backup   {} of {} ({})", planned.backup, planned.policy, planned.kind);
    let _ = writeln!(out, "shows    {}; what came in the {lost} since then is not in it", planned.consistent_at);
    let size = if plan.bytes == 0 { "size not known".to_owned() } else { format_bytes(plan.bytes) };
    let _ = writeln!(out, "target   {}, {size}", plan.target);
    let took = format_duration(Duration::from_secs(plan.estimated_seconds));
    let _ = writeln!(out, "time     about {took}: {}", plan.estimate);
    for warning in planned.backup_warnings.iter().chain(&plan.notes) {
        let _ = writeln!(out, "note     {warning}");
    }
    for call in &plan.calls {
        let _ = writeln!(out, "call     {} for {}: {}", call.operation, call.of, call.parameters);
    }
    out
}

fn text(done: &SnapshotsRestored) -> String {
    let mut out = String::new();
    let from = if done.point_in_time { "automated backups" } else { "snapshot" };
    for made in &done.restored.made {
        let _ = writeln!(out, "made     {} from the {from} of {}: {}", made.id, made.of, made.details);
    }
    let took = format_duration(Duration::from_secs_f64(done.seconds));
    let _ = writeln!(out, "restored {} as of {} to {} in {took}", done.backup, done.consistent_at, done.target);
    for warning in &done.restored.warnings {
        let _ = writeln!(out, "warning  {warning}");
    }
    out
}
