//! What a restore left that did not come to its end: the same command goes on with it. What a restore made that succeeded is never touched again.

use std::collections::BTreeSet;

use super::wait::is_dead;
use crate::base::ids::RunId;
use crate::base::{Error, Result};
use crate::cloud::rds::describe::Described;
use crate::cloud::rds::restore::Origin;
use crate::cloud::rds::settings::Settings;
use crate::cloud::rds::{Rds, Unit};
use crate::cloud::tags::{self, Tags};
use crate::jobs::snapshot::Saved;
use crate::jobs::snapshot::restore::ToInstance;
use crate::repo::runs::{self, RunState};

/// Of what a restore would make, what is there already.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// The runs that made it.
    pub(super) runs: BTreeSet<RunId>,
    /// The identifiers.
    pub(super) names: BTreeSet<String>,
    /// ARNs of the same.
    pub(super) arns: Vec<String>,
}

impl Left {
    /// Whether `name` need not be asked for.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

/// Everything that a restore makes, by its identifiers.
pub(super) fn identifiers(settings: &Settings) -> Vec<(Unit, &str)> {
    match settings {
        Settings::Instance(instance) => vec![(Unit::Instance, instance.identifier.as_str())],
        Settings::Cluster(cluster, members) => {
            let members = members.iter().map(|m| (Unit::Instance, m.identifier.as_str()));
            [(Unit::Cluster, cluster.identifier.as_str())].into_iter().chain(members).collect()
        }
    }
}

/// Looks for what is there already; an error where that is not what an unfinished restore of this very backup left. A point in time that such a restore
/// chose takes the place of the one in `origin`, where the user named none.
pub(super) async fn look(rds: &Rds, settings: &Settings, origin: &mut Origin, saved: &Saved, to: &ToInstance) -> Result<Left> {
    let mut left = Left::default();
    for (unit, name) in identifiers(settings) {
        let Some(found) = rds.find(unit, name).await? else { continue };
        let tags = found.tags();
        let run = tags.get(tags::RESTORED_BY).and_then(|id| id.parse::<RunId>().ok());
        let ours = tags.get(tags::RESTORED_FROM).is_some_and(|backup| *backup == saved.head.backup.to_string());
        let (Some(run), true) = (run, ours) else { return Err(taken(unit, name, rds.region())) };
        match runs::find(&saved.vault, &run).await?.map(|run| run.state) {
            None => return Err(taken(unit, name, rds.region())),
            Some(RunState::Succeeded) => {
                let at = found.endpoint.as_deref().map(|host| format!(" It answers at {host}.")).unwrap_or_default();
                return Err(taken(unit, name, rds.region()).context(format!("run {run} restored this backup completely.{at}")));
            }
            Some(_) if is_dead(&found.status) => {
                return Err(Error::conflict(format!("run {run} made {} '{name}', which is '{}'", unit.noun(), found.status))
                    .hint("delete it, and restore again with other settings, or under another name"));
            }
            Some(_) => same_time(origin, tags, name, to)?,
        }
        left.runs.insert(run);
        left.names.insert(name.to_owned());
        left.arns.push(found.arn);
    }
    Ok(left)
}

/// Refuses to go on with what shows another time than the one that is wanted.
fn same_time(origin: &mut Origin, tags: &Tags, name: &str, to: &ToInstance) -> Result<()> {
    let begun_at = tags.get(tags::RESTORE_TIME).and_then(|at| at.parse().ok());
    match (origin, begun_at) {
        (Origin::Snapshot(_), None) => Ok(()),
        (Origin::Time { at, .. }, Some(begun_at)) if *at == begun_at => Ok(()),
        (Origin::Time { at, latest, .. }, Some(begun_at)) if to.latest => {
            (*at, *latest) = (begun_at, false);
            Ok(())
        }
        (_, begun_at) => {
            let shows = begun_at.map_or_else(|| "the snapshot".to_owned(), |at| at.to_string());
            Err(Error::conflict(format!(
                "a restore that did not end began '{name}' out of {shows}, which is not what is wanted now"
            ))
            .hint("choose another name, or delete what it left"))
        }
    }
}

/// Something else has the name.
pub(super) fn taken(unit: Unit, name: &str, region: &str) -> Error {
    Error::conflict(format!("there is a {} '{name}' in {region} already, and pgkeep never overwrites one", unit.noun()))
        .hint("choose another name; applications are moved by renaming instances, once the new one is seen to be right")
}

/// Whether a run of `runs` made it.
pub(super) fn is_of(found: &Described, runs: &BTreeSet<RunId>) -> bool {
    found.tags().get(tags::RESTORED_BY).and_then(|id| id.parse().ok()).is_some_and(|run: RunId| runs.contains(&run))
}
