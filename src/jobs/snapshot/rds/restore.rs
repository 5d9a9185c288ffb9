//! New RDS instances and clusters as the old ones were, from a snapshot or from the automated backups. What exists is never changed.

use jiff::Timestamp;
use serde_json::json;

use super::plan::{calls, estimate};
use super::wait::{until_taken, until_usable};
use super::{SETTINGS, unit_of};
use crate::base::clock::elapsed;
use crate::base::ids::RunId;
use crate::base::shutdown::Shutdown;
use crate::base::units::format_duration;
use crate::base::{Error, Result};
use crate::cloud::account;
use crate::cloud::rds::restore::Origin;
use crate::cloud::rds::settings::{ClusterSettings, InstanceSettings, Settings};
use crate::cloud::rds::{self, Rds, Unit, Window};
use crate::cloud::tags::{self, Tags};
use crate::jobs::context::Context;
use crate::jobs::snapshot::Saved;
use crate::jobs::snapshot::restore::{Made, PointInTime, Restored, SnapshotPlan, Target, ToInstance};
use crate::jobs::source::SnapshotRef;
use crate::policy::model::RdsSource;

/// A restore, worked out.
struct Work {
    rds: Rds,
    unit: Unit,
    origin: Origin,
    settings: Settings,
    /// The instant that comes back.
    shows: Timestamp,
    window: Option<Window>,
    notes: Vec<String>,
}

pub(super) async fn plan(saved: &Saved, target: &Target) -> Result<SnapshotPlan> {
    let to = to_instance(target)?;
    let mut work = work(saved, to).await?;
    let members = match &work.settings {
        Settings::Instance(_) => Vec::new(),
        Settings::Cluster(_, members) => members.iter().map(|m| (Unit::Instance, m.identifier.as_str())).collect(),
    };
    for (unit, name) in [(work.unit, to.name.as_str())].into_iter().chain(members) {
        if work.rds.find(unit, name).await?.is_some() {
            return Err(taken(unit, name, work.rds.region()));
        }
    }
    let point_in_time = work.window.map(|window| offer(window, saved, to, &mut work.notes));
    let (estimated_seconds, estimate) = estimate(&work.origin, &work.settings);
    Ok(SnapshotPlan {
        region: work.rds.region().to_owned(),
        target: format!("{} {}", work.unit.noun(), to.name),
        calls: calls(&work.origin, &work.settings),
        bytes: work.settings.bytes(),
        estimated_seconds,
        estimate,
        notes: work.notes,
        shows: Some(work.shows),
        point_in_time,
    })
}

pub(super) async fn restore(cx: &Context, saved: &Saved, target: &Target, run: &RunId, shutdown: &Shutdown) -> Result<Restored> {
    let to = to_instance(target)?;
    let mut work = work(saved, to).await?;
    mark(&mut work.settings, saved, run);
    cx.progress.stage("restore", None);
    let mut rds = work.rds.clone();
    let Work { unit, origin, settings, .. } = &work;
    let made = match settings {
        Settings::Instance(instance) => {
            let asked =
                shutdown.guard(until_taken(cx, &mut rds, |rds| async move { rds.restore_instance(origin, instance).await }));
            let asked = asked.await;
            begun(asked, &rds, *unit, &instance.identifier, run).await?;
            let mut endpoint = until_usable(cx, &mut rds, *unit, &instance.identifier, shutdown).await?;
            if instance.needs_modify() {
                let asked = until_taken(cx, &mut rds, |rds| async move { rds.modify_instance(instance).await });
                shutdown.guard(asked).await?;
                endpoint = until_usable(cx, &mut rds, *unit, &instance.identifier, shutdown).await?;
            }
            vec![made_instance(instance, &saved.summary.of, endpoint.as_deref())]
        }
        Settings::Cluster(cluster, members) => restore_cluster(cx, &work, cluster, members, saved, run, shutdown).await?,
    };
    Ok(Restored { made, warnings: work.notes })
}

async fn restore_cluster(
    cx: &Context,
    work: &Work,
    cluster: &ClusterSettings,
    members: &[InstanceSettings],
    saved: &Saved,
    run: &RunId,
    shutdown: &Shutdown,
) -> Result<Vec<Made>> {
    let (mut rds, origin) = (work.rds.clone(), &work.origin);
    let asked = until_taken(cx, &mut rds, |rds| async move { rds.restore_cluster(origin, cluster).await });
    let asked = shutdown.guard(asked).await;
    begun(asked, &rds, Unit::Cluster, &cluster.identifier, run).await?;
    let endpoint = until_usable(cx, &mut rds, Unit::Cluster, &cluster.identifier, shutdown).await?;
    if cluster.needs_modify() {
        shutdown.guard(until_taken(cx, &mut rds, |rds| async move { rds.modify_cluster(cluster).await })).await?;
    }
    let mut made = vec![Made {
        id: cluster.identifier.clone(),
        of: saved.summary.of.clone(),
        details: json!({ "Endpoint": endpoint, "Port": cluster.port, "Engine": cluster.engine, "EngineVersion": cluster.engine_version }),
    }];
    for member in members {
        let asked = shutdown.guard(until_taken(cx, &mut rds, |rds| async move { rds.create_member(member).await })).await;
        begun(asked, &rds, Unit::Instance, &member.identifier, run).await?;
    }
    for member in members {
        let endpoint = until_usable(cx, &mut rds, Unit::Instance, &member.identifier, shutdown).await?;
        made.push(made_instance(member, &cluster.identifier, endpoint.as_deref()));
    }
    Ok(made)
}

/// A request that RDS took, also when its answer was lost and it was sent twice.
async fn begun(asked: Result<()>, rds: &Rds, unit: Unit, name: &str, run: &RunId) -> Result<()> {
    match asked {
        Err(error) if rds::exists_already(&error) => {
            let found = rds.find(unit, name).await?;
            let tags = found.as_ref().map(|f| match &f.settings {
                Settings::Instance(i) => &i.tags,
                Settings::Cluster(c, _) => &c.tags,
            });
            let own = tags.is_some_and(|t| t.get(tags::RESTORED_BY).is_some_and(|id| *id == run.to_string()));
            if own { Ok(()) } else { Err(taken(unit, name, rds.region())) }
        }
        asked => asked,
    }
}

fn taken(unit: Unit, name: &str, region: &str) -> Error {
    Error::conflict(format!("there is a {} '{name}' in {region} already, and pgkeep never overwrites one", unit.noun()))
        .hint("choose another name; applications are moved by renaming instances, once the new one is seen to be right")
}

fn made_instance(s: &InstanceSettings, of: &str, endpoint: Option<&str>) -> Made {
    let details = json!({
        "Endpoint": endpoint,
        "Port": s.port,
        "DBInstanceClass": s.class,
        "Engine": s.engine,
        "EngineVersion": s.engine_version,
        "AllocatedStorage": s.allocated_storage,
    });
    Made { id: s.identifier.clone(), of: of.to_owned(), details }
}

fn to_instance(target: &Target) -> Result<&ToInstance> {
    match target {
        Target::Instance(to) => Ok(to),
        Target::Volumes(_) => {
            Err(Error::usage("this backup is of RDS, not of EBS volumes").hint("say where to with --to-instance NAME"))
        }
    }
}

async fn work(saved: &Saved, to: &ToInstance) -> Result<Work> {
    check_name(&to.name)?;
    let original = saved.summary.originals().next().ok_or_else(|| Error::integrity("the backup names no snapshot"))?;
    let document = saved.documents.iter().find(|d| d.tag == SETTINGS);
    let described: Settings = document.ok_or_else(|| Error::integrity("the backup does not describe its instance"))?.parse()?;
    let region = to.region.as_deref().unwrap_or(&saved.summary.region);
    let at_home = region == saved.summary.region;
    let rds = Rds::connect(region).await?;
    let unit = match &described {
        Settings::Instance(_) => Unit::Instance,
        Settings::Cluster(..) => Unit::Cluster,
    };
    let mut notes = Vec::new();
    let window = if at_home { window(&rds, unit, &original.of, &mut notes).await } else { None };
    let (origin, shows) = if to.point_in_time {
        origin_in_time(&rds, unit, original, &described, window, to).await?
    } else {
        (origin_of_snapshot(&rds, unit, saved, region).await?, saved.head.consistent_at)
    };
    let settings = settings(described, to, at_home, &mut notes);
    Ok(Work { rds, unit, origin, settings, shows, window, notes })
}

/// The window of point-in-time restores, where it can be read: a snapshot can be restored without.
async fn window(rds: &Rds, unit: Unit, of: &str, notes: &mut Vec<String>) -> Option<Window> {
    match rds.window(unit, of).await {
        Ok(Some(window)) => Some(window),
        Ok(None) => {
            notes.push(format!("{of} has no automated backups: there is no point-in-time restore beside this snapshot"));
            None
        }
        Err(error) => {
            notes.push(format!("whether a point-in-time restore would lose less is not known: {}", error.full_message()));
            None
        }
    }
}

async fn origin_of_snapshot(rds: &Rds, unit: Unit, saved: &Saved, region: &str) -> Result<Origin> {
    let Some(named) = saved.summary.snapshots.iter().find(|s| s.region == region) else {
        let regions: Vec<&str> = saved.summary.snapshots.iter().map(|s| s.region.as_str()).collect();
        return Err(Error::not_found(format!("backup {} has no copy in {region}", saved.head.backup))
            .hint(format!("it is in {}", regions.join(", "))));
    };
    match rds.snapshot(unit, &named.id).await? {
        Some(found) if found.is_available() => Ok(Origin::Snapshot(named.id.clone())),
        Some(found) => Err(Error::conflict(format!("snapshot {} in {region} is '{}'", named.id, found.status))),
        None => {
            account::expect(saved.belonging.account.as_deref(), region).await?;
            Err(Error::integrity(format!("snapshot {} in {region} is gone", named.id))
                .hint("choose another backup, or a copy in another region with --to-region"))
        }
    }
}

async fn origin_in_time(
    rds: &Rds,
    unit: Unit,
    original: &SnapshotRef,
    described: &Settings,
    window: Option<Window>,
    to: &ToInstance,
) -> Result<(Origin, Timestamp)> {
    let window = window.ok_or_else(|| {
        Error::not_found(format!("{} has no automated backups in {} that could be restored", original.of, rds.region()))
            .hint("leave --point-in-time out to restore the snapshot")
    })?;
    let at = to.at.unwrap_or(window.latest).min(window.latest);
    if !window.covers(at) {
        return Err(Error::not_found(format!(
            "the automated backups of {} reach from {} to {}, which is after {at}",
            original.of, window.earliest, window.latest
        ))
        .hint("leave --point-in-time out to restore the snapshot"));
    }
    let resource = match described {
        Settings::Instance(i) => i.dbi_resource_id.clone(),
        Settings::Cluster(c, _) => c.db_cluster_resource_id.clone(),
    };
    let gone = if rds.find(unit, &original.of).await?.is_none() { resource } else { None };
    Ok((Origin::Time { of: original.of.clone(), gone, at }, at))
}

/// What the automated backups of `source` offer for the time `at`; `None` where there are none.
pub(in crate::jobs) async fn offer_at(source: &RdsSource, at: Timestamp) -> Result<Option<PointInTime>> {
    let (unit, id) = unit_of(source);
    let window = Rds::connect(&source.region).await?.window(unit, id).await?;
    Ok(window.map(|window| point_in_time(window, at, false)))
}

fn point_in_time(window: Window, asked: Timestamp, chosen: bool) -> PointInTime {
    let at = asked.min(window.latest);
    let reaches = window.covers(at).then_some(at);
    let loss_seconds = reaches.map(|at| elapsed(at, asked).as_secs());
    PointInTime { earliest: window.earliest, latest: window.latest, reaches, loss_seconds, chosen }
}

/// What a point-in-time restore offers beside the snapshot; which of both loses less is said as a note.
fn offer(window: Window, saved: &Saved, to: &ToInstance, notes: &mut Vec<String>) -> PointInTime {
    let asked = to.at.unwrap_or(window.latest);
    let offered = point_in_time(window, asked, to.point_in_time);
    let loss = |shows: Timestamp| elapsed(shows, asked).as_secs();
    let of_snapshot = loss(saved.head.consistent_at);
    let words =
        |seconds: u64| if seconds == 0 { "nothing".to_owned() } else { format_duration(std::time::Duration::from_secs(seconds)) };
    match offered.reaches {
        Some(at) if to.point_in_time => notes.push(format!(
            "point-in-time restore to {at} loses {} of what came before {asked}; the snapshot would lose {}",
            words(loss(at)),
            words(of_snapshot)
        )),
        Some(at) if loss(at) < of_snapshot => notes.push(format!(
            "a point-in-time restore reaches {at} and loses {}, where this snapshot loses {}: add --point-in-time",
            words(loss(at)),
            words(of_snapshot)
        )),
        Some(_) => notes.push("a point-in-time restore would lose no less than this snapshot".to_owned()),
        None => notes.push(format!(
            "the automated backups begin at {}, after the time that was asked for: only the snapshot reaches it",
            window.earliest
        )),
    }
    offered
}

/// The old settings under the new name, with what the user wants otherwise; what belongs to another region is left out.
fn settings(described: Settings, to: &ToInstance, at_home: bool, notes: &mut Vec<String>) -> Settings {
    let mut left_out = Vec::new();
    let settings = match described {
        Settings::Instance(instance) => {
            let mut s = instance.to_ask();
            s.identifier.clone_from(&to.name);
            adapt_instance(&mut s, to, at_home, &mut left_out);
            Settings::Instance(Box::new(s))
        }
        Settings::Cluster(cluster, members) => {
            let mut c = Box::new(cluster.to_ask());
            c.identifier.clone_from(&to.name);
            if !at_home {
                let region_bound = [("subnet group", c.subnet_group.take()), ("parameter group", c.parameter_group.take())];
                left_out.extend(region_bound.into_iter().filter_map(|(what, name)| Some(format!("{what} {}", name?))));
                left_out.extend(c.vpc_security_group_ids.drain(..).map(|id| format!("security group {id}")));
            }
            c.subnet_group = to.subnet_group.clone().or(c.subnet_group);
            c.parameter_group = to.parameter_group.clone().or(c.parameter_group);
            if !to.security_groups.is_empty() {
                c.vpc_security_group_ids.clone_from(&to.security_groups);
            }
            if c.is_multi_az() {
                c.instance_class = to.class.clone().or(c.instance_class);
                return finish(Settings::Cluster(c, Vec::new()), left_out, notes);
            }
            let members = members.into_iter().enumerate().map(|(i, member)| {
                let mut m = member.to_ask();
                m.identifier = format!("{}-{}", to.name, i + 1);
                m.cluster = Some(to.name.clone());
                adapt_instance(&mut m, &ToInstance { parameter_group: None, ..to.clone() }, at_home, &mut left_out);
                m
            });
            Settings::Cluster(c, members.collect())
        }
    };
    finish(settings, left_out, notes)
}

fn finish(settings: Settings, left_out: Vec<String>, notes: &mut Vec<String>) -> Settings {
    if !left_out.is_empty() {
        let mut left_out = left_out;
        left_out.sort();
        left_out.dedup();
        notes.push(format!("these are of the other region, so that its defaults take their place: {}", left_out.join(", ")));
    }
    settings
}

fn adapt_instance(s: &mut InstanceSettings, to: &ToInstance, at_home: bool, left_out: &mut Vec<String>) {
    if !at_home {
        let region_bound = [
            ("subnet group", s.subnet_group.take()),
            ("parameter group", s.parameter_group.take()),
            ("option group", s.option_group_name.take()),
            ("monitoring role", s.monitoring_role_arn.take()),
            ("key of Performance Insights", s.performance_insights_kms_key_id.take()),
        ];
        left_out.extend(region_bound.into_iter().filter_map(|(what, name)| Some(format!("{what} {}", name?))));
        left_out.extend(s.vpc_security_group_ids.drain(..).map(|id| format!("security group {id}")));
        (s.availability_zone, s.monitoring_interval) = (None, None);
    }
    if let Some(class) = &to.class {
        s.class.clone_from(class);
    }
    s.subnet_group = to.subnet_group.clone().or(s.subnet_group.take());
    s.parameter_group = to.parameter_group.clone().or(s.parameter_group.take());
    if !to.security_groups.is_empty() {
        s.vpc_security_group_ids.clone_from(&to.security_groups);
    }
}

/// Says on everything that is made what it was made of.
fn mark(settings: &mut Settings, saved: &Saved, run: &RunId) {
    let set = |tags: &mut Tags| {
        tags.retain(|key, _| !key.starts_with("pgkeep:"));
        tags.insert(tags::RESTORED_FROM.to_owned(), saved.head.backup.to_string());
        tags.insert(tags::RESTORED_BY.to_owned(), run.to_string());
    };
    match settings {
        Settings::Instance(instance) => set(&mut instance.tags),
        Settings::Cluster(cluster, members) => {
            set(&mut cluster.tags);
            for member in members {
                set(&mut member.tags);
            }
        }
    }
}

/// An identifier as RDS takes it: 1 to 63 letters, digits and single hyphens, first a letter.
fn check_name(name: &str) -> Result<()> {
    let good = name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.ends_with('-')
        && !name.contains("--");
    if good {
        Ok(())
    } else {
        Err(Error::usage(format!("'{name}' cannot be the identifier of an instance"))
            .hint("1 to 63 letters, digits and single hyphens; first a letter, last no hyphen"))
    }
}
