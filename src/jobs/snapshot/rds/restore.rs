//! New RDS instances and clusters as the old ones were, from a snapshot or from the automated backups. What exists is never changed, but for what a restore
//! of the same backup left that did not come to its end.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;

use super::super::patience::Patience;
use super::SETTINGS;
use super::adapt::settings;
use super::earlier::{self, Left, is_of, taken};
use super::in_time::{self, offer, origin_in_time};
use super::plan::{calls, estimate};
use super::wait::{until_taken, until_usable};
use crate::base::ids::RunId;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Kind, Result};
use crate::cloud::rds::restore::Origin;
use crate::cloud::rds::settings::{ClusterSettings, InstanceSettings, Settings};
use crate::cloud::rds::snapshots::Snapshot;
use crate::cloud::rds::{self, Rds, Unit, Window};
use crate::cloud::tags::{self, Tags};
use crate::cloud::{account, aws};
use crate::jobs::context::Context;
use crate::jobs::snapshot::Saved;
use crate::jobs::snapshot::restore::{Made, Restored, SnapshotPlan, Target, ToInstance};

/// A restore, worked out.
struct Work {
    rds: Rds,
    unit: Unit,
    origin: Origin,
    settings: Settings,
    /// Size of what is made, in bytes; 0: not known.
    bytes: u64,
    /// What an earlier one left.
    left: Left,
    window: Option<Window>,
    notes: Vec<String>,
}

impl Work {
    /// The instant that comes back.
    fn shows(&self, saved: &Saved) -> Timestamp {
        match &self.origin {
            Origin::Snapshot(_) => saved.head.consistent_at,
            Origin::Time { at, .. } => *at,
        }
    }
}

pub(super) async fn plan(saved: &Saved, target: &Target) -> Result<SnapshotPlan> {
    let to = to_instance(target)?;
    let mut work = work(saved, to).await?;
    let shows = work.shows(saved);
    let point_in_time = work.window.map(|window| offer(window, shows, saved, to, &mut work.notes));
    let (estimated_seconds, estimate) = estimate(&work.origin, &work.settings);
    Ok(SnapshotPlan {
        region: work.rds.region().to_owned(),
        target: format!("{} {}", work.unit.noun(), to.name),
        calls: calls(&work.origin, &work.settings, &work.left),
        bytes: work.bytes,
        estimated_seconds,
        estimate,
        notes: work.notes,
        shows: Some(shows),
        point_in_time,
    })
}

pub(super) async fn restore(cx: &Context, saved: &Saved, target: &Target, run: &RunId, shutdown: &Shutdown) -> Result<Restored> {
    let to = to_instance(target)?;
    let mut work = work(saved, to).await?;
    let shows = work.shows(saved);
    if let Some(window) = work.window.filter(|_| to.point_in_time) {
        offer(window, shows, saved, to, &mut work.notes);
    }
    mark(&mut work, saved, run);
    cx.progress.stage("restore", None);
    let mut runs = work.left.runs.clone();
    runs.insert(run.clone());
    let mut steps = Steps { cx, rds: work.rds.clone(), runs, shutdown, warnings: work.notes.clone() };
    // What is gone on with is this run's from now on: once it has succeeded, nothing is gone on with any more.
    for arn in &work.left.arns {
        let tags = &own_tags(&work.origin, saved, run);
        steps.ask(|rds| async move { rds.tag(arn, tags).await }).await?;
    }
    let made = match &work.settings {
        Settings::Instance(instance) => vec![steps.instance(&work, instance, saved).await?],
        Settings::Cluster(cluster, members) => steps.cluster(&work, cluster, members, saved).await?,
    };
    Ok(Restored { made, warnings: steps.warnings, shows: Some(shows) })
}

/// One after the other, what a restore asks of RDS.
struct Steps<'a> {
    cx: &'a Context,
    rds: Rds,
    /// Whose work this is: that of this run, and of those that it goes on with.
    runs: BTreeSet<RunId>,
    shutdown: &'a Shutdown,
    warnings: Vec<String>,
}

impl Steps<'_> {
    async fn instance(&mut self, work: &Work, instance: &InstanceSettings, saved: &Saved) -> Result<Made> {
        let (name, origin) = (&instance.identifier, &work.origin);
        if !work.left.has(name) {
            let asked = self.ask(|rds| async move { rds.restore_instance(origin, instance).await }).await;
            self.begun(asked, Unit::Instance, name).await?;
        }
        let mut endpoint = self.usable(Unit::Instance, name).await?;
        if instance.needs_modify() {
            let asked = self.ask(|rds| async move { rds.modify_instance(instance).await }).await;
            self.bear_unset(asked, name, endpoint.as_deref())?;
            endpoint = self.usable(Unit::Instance, name).await?;
        }
        Ok(made_instance(instance, &saved.summary.of, endpoint.as_deref()))
    }

    async fn cluster(
        &mut self,
        work: &Work,
        c: &ClusterSettings,
        members: &[InstanceSettings],
        saved: &Saved,
    ) -> Result<Vec<Made>> {
        let origin = &work.origin;
        if !work.left.has(&c.identifier) {
            let asked = self.ask(|rds| async move { rds.restore_cluster(origin, c).await }).await;
            self.begun(asked, Unit::Cluster, &c.identifier).await?;
        }
        let endpoint = self.usable(Unit::Cluster, &c.identifier).await?;
        let mut made = vec![Made {
            id: c.identifier.clone(),
            of: saved.summary.of.clone(),
            details: json!({ "Endpoint": endpoint, "Port": c.port, "Engine": c.engine, "EngineVersion": c.engine_version }),
        }];
        for member in members.iter().filter(|m| !work.left.has(&m.identifier)) {
            let asked = self.ask(|rds| async move { rds.create_member(member).await }).await;
            self.begun(asked, Unit::Instance, &member.identifier).await?;
        }
        for member in members {
            let endpoint = self.usable(Unit::Instance, &member.identifier).await?;
            made.push(made_instance(member, &c.identifier, endpoint.as_deref()));
        }
        // Last, since queries need none of it.
        if c.needs_modify() {
            let asked = self.ask(|rds| async move { rds.modify_cluster(c).await }).await;
            self.bear_unset(asked, &c.identifier, endpoint.as_deref())?;
        }
        if c.needs_http_endpoint() {
            let asked = self.ask(|rds| async move { rds.enable_http_endpoint(&c.identifier).await }).await;
            self.bear_unset(asked, &c.identifier, endpoint.as_deref())?;
        }
        Ok(made)
    }

    async fn ask<T, F>(&mut self, ask: impl Fn(Rds) -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        self.shutdown.guard(until_taken(self.cx, &mut self.rds, ask)).await
    }

    async fn usable(&mut self, unit: Unit, name: &str) -> Result<Option<String>> {
        let usable = until_usable(self.cx, &mut self.rds, unit, name, self.shutdown).await;
        usable.map_err(
            |error| if error.kind() == Kind::Unavailable && error.hint_text().is_none() { error.hint(GO_ON) } else { error },
        )
    }

    /// A request that RDS took, also when its answer was lost and it was sent twice, or was the last that was tried.
    async fn begun(&mut self, asked: Result<()>, unit: Unit, name: &str) -> Result<()> {
        let Err(error) = asked else { return Ok(()) };
        let there = rds::exists_already(&error);
        if !there && (!aws::is_ambiguous(&error) || rds::lacks_room(&error)) {
            return Err(error);
        }
        let mut patience = Patience::new(&self.cx.clock);
        loop {
            match self.rds.find(unit, name).await {
                Ok(Some(found)) if is_of(&found, &self.runs) => return Ok(()),
                Ok(Some(_)) => return Err(taken(unit, name, self.rds.region())),
                Ok(None) if patience.may_be_invisible() => patience.answered(),
                Ok(None) if there => return Err(taken(unit, name, self.rds.region())),
                Ok(None) => return Err(error),
                Err(trouble) => patience.bear(trouble, &mut self.rds).await?,
            }
            self.shutdown.guard(patience.pause()).await?;
        }
    }

    /// What is there answers, if without some of its settings: that is told, and is no failure.
    fn bear_unset(&mut self, asked: Result<()>, name: &str, endpoint: Option<&str>) -> Result<()> {
        let Err(error) = asked else { return Ok(()) };
        if error.kind() == Kind::Cancelled || self.shutdown.is_cancelled() {
            return Err(error);
        }
        self.warnings.push(format!(
            "{name} answers at {}, without some of its settings, which `pgkeep restore --plan` names: {}",
            endpoint.unwrap_or("its endpoint"),
            error.full_message()
        ));
        Ok(())
    }
}

const GO_ON: &str = "the same command goes on where this one ended";

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
    let window =
        if at_home { in_time::window(&rds, unit, &original.of, described.resource_id(), &mut notes).await } else { None };
    let mut bytes = described.bytes();
    let mut origin = if to.point_in_time {
        origin_in_time(&rds, original, &described, window, to)?
    } else {
        let snapshot = snapshot(&rds, unit, saved, region).await?;
        bytes = bytes.max(described.plausible(snapshot.bytes));
        Origin::Snapshot(snapshot.id)
    };
    let settings = settings(described, to, at_home, &mut notes)?;
    let left = earlier::look(&rds, &settings, &mut origin, saved, to).await?;
    if !left.names.is_empty() {
        notes.push(format!("goes on with what a restore of this backup that did not end left: {}", list(&left.names)));
    }
    Ok(Work { rds, unit, origin, settings, bytes, left, window, notes })
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

async fn snapshot(rds: &Rds, unit: Unit, saved: &Saved, region: &str) -> Result<Snapshot> {
    let Some(named) = saved.summary.snapshots.iter().find(|s| s.region == region) else {
        let regions: Vec<&str> = saved.summary.snapshots.iter().map(|s| s.region.as_str()).collect();
        return Err(Error::not_found(format!("backup {} has no copy in {region}", saved.head.backup))
            .hint(format!("it is in {}", regions.join(", "))));
    };
    match rds.snapshot(unit, &named.id).await? {
        Some(found) if found.is_available() => Ok(found),
        Some(found) => Err(Error::conflict(format!("snapshot {} in {region} is '{}'", named.id, found.status))),
        None => {
            account::expect(saved.belonging.account.as_deref(), region).await?;
            Err(Error::integrity(format!("snapshot {} in {region} is gone", named.id))
                .hint("choose another backup, or a copy in another region with --to-region"))
        }
    }
}

/// Says on everything that is made what it was made of.
fn mark(work: &mut Work, saved: &Saved, run: &RunId) {
    let own = own_tags(&work.origin, saved, run);
    let set = |tags: &mut Tags| {
        tags.retain(|key, _| !key.starts_with("pgkeep:"));
        tags.extend(own.clone());
    };
    match &mut work.settings {
        Settings::Instance(instance) => set(&mut instance.tags),
        Settings::Cluster(cluster, members) => {
            set(&mut cluster.tags);
            for member in members {
                set(&mut member.tags);
            }
        }
    }
}

fn own_tags(origin: &Origin, saved: &Saved, run: &RunId) -> Tags {
    let mut tags = Tags::from([
        (tags::RESTORED_FROM.to_owned(), saved.head.backup.to_string()),
        (tags::RESTORED_BY.to_owned(), run.to_string()),
    ]);
    if let Origin::Time { at, .. } = origin {
        tags.insert(tags::RESTORE_TIME.to_owned(), at.to_string());
    }
    tags
}
