//! Point-in-time restores, from RDS's own automated backups.

use std::time::Duration;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit as TimeUnit};

use super::unit_of;
use crate::base::clock::{elapsed, sub};
use crate::base::units::format_duration;
use crate::base::{Error, Result};
use crate::cloud::rds::restore::Origin;
use crate::cloud::rds::settings::Settings;
use crate::cloud::rds::{Rds, Unit, Window};
use crate::jobs::snapshot::Saved;
use crate::jobs::snapshot::restore::{PointInTime, ToInstance};
use crate::jobs::source::SnapshotRef;
use crate::policy::model::RdsSource;

/// The window of point-in-time restores, where it can be read: a snapshot can be restored without. It is that of the very instance or cluster that was
/// backed up (`resource`), whatever it is called now, and not of one that has its name.
pub(super) async fn window(rds: &Rds, unit: Unit, of: &str, resource: Option<&str>, notes: &mut Vec<String>) -> Option<Window> {
    let found = match resource {
        Some(resource) => rds.window_by_resource(unit, resource).await,
        None => rds.window(unit, of).await,
    };
    let window = match found {
        Ok(window) => window,
        Err(error) => {
            notes.push(format!("whether a point-in-time restore would lose less is not known: {}", error.full_message()));
            return None;
        }
    };
    if let Some(resource) = resource
        && let Ok(Some(named)) = rds.find(unit, of).await
        && let Some(other) = named.settings.resource_id().filter(|id| *id != resource)
    {
        let theirs = rds.window(unit, of).await.ok().flatten();
        notes.push(format!(
            "{of} is now the name of another {} ({other}) than the one that was backed up ({resource}): automated backups of the former {}, of the latter {}",
            unit.noun(),
            reach(theirs),
            reach(window)
        ));
    } else if window.is_none() {
        notes.push(format!("{of} has no automated backups: there is no point-in-time restore beside this snapshot"));
    }
    window
}

fn reach(window: Option<Window>) -> String {
    window.map_or_else(|| "there are none".to_owned(), |w| format!("reach from {} to {}", w.earliest, w.latest))
}

/// Where a point-in-time restore comes from.
pub(super) fn origin_in_time(
    rds: &Rds,
    original: &SnapshotRef,
    described: &Settings,
    window: Option<Window>,
    to: &ToInstance,
) -> Result<Origin> {
    let window = window.ok_or_else(|| {
        Error::not_found(format!("{} has no automated backups in {} that could be restored", original.of, rds.region()))
            .hint("leave --point-in-time out to restore the snapshot")
    })?;
    let (at, latest) = instant(window, to);
    if !window.covers(at) {
        return Err(Error::not_found(format!(
            "the automated backups of {} reach from {} to {}, which is after {at}",
            original.of, window.earliest, window.latest
        ))
        .hint("leave --point-in-time out to restore the snapshot"));
    }
    Ok(Origin::Time { of: original.of.clone(), resource: described.resource_id().map(str::to_owned), at, latest })
}

/// The instant to ask for, and whether the latest is asked for instead. RDS takes whole seconds, and only what is before the latest; it is never later than
/// what the user named, also where the latest grows meanwhile: what came after may be what is to be undone.
fn instant(window: Window, to: &ToInstance) -> (Timestamp, bool) {
    match to.at {
        Some(at) if !to.latest && at < window.latest => (seconds(at), false),
        Some(_) if !to.latest => (seconds(sub(window.latest, Duration::from_secs(1)).max(window.earliest)), false),
        _ => (seconds(window.latest), true),
    }
}

fn seconds(at: Timestamp) -> Timestamp {
    at.round(TimestampRound::new().smallest(TimeUnit::Second).mode(RoundMode::Floor)).unwrap_or(at)
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

/// What a point-in-time restore offers beside the snapshot; which of both loses less is said as a note. `shows`: the instant that comes back.
pub(super) fn offer(window: Window, shows: Timestamp, saved: &Saved, to: &ToInstance, notes: &mut Vec<String>) -> PointInTime {
    let asked = to.at.unwrap_or(window.latest);
    let mut offered = point_in_time(window, asked, to.point_in_time);
    let loss = |shows: Timestamp| elapsed(shows, asked).as_secs();
    let of_snapshot = words(loss(saved.head.consistent_at));
    if to.point_in_time {
        (offered.reaches, offered.loss_seconds) = (Some(shows), Some(loss(shows)));
        notes.push(match loss(shows) {
            // RDS itself counts in seconds.
            seconds if seconds > 1 && !to.latest => format!(
                "NOT THE TIME THAT WAS ASKED FOR: the automated backups reach only {} now, so that {shows} comes back and {} before {asked} are lost; \
                 the latest time grows: the same command in some minutes loses nothing. The snapshot would lose {of_snapshot}",
                window.latest,
                words(seconds)
            ),
            seconds => format!(
                "point-in-time restore to {shows} loses {} of what came before {asked}; the snapshot would lose {of_snapshot}",
                words(seconds)
            ),
        });
        return offered;
    }
    notes.push(match offered.reaches {
        Some(at) if loss(at) < loss(saved.head.consistent_at) => format!(
            "a point-in-time restore reaches {at} and loses {}, where this snapshot loses {of_snapshot}: add --point-in-time",
            words(loss(at))
        ),
        Some(_) => "a point-in-time restore would lose no less than this snapshot".to_owned(),
        None => format!(
            "the automated backups begin at {}, after the time that was asked for: only the snapshot reaches it",
            window.earliest
        ),
    });
    offered
}

fn words(seconds: u64) -> String {
    if seconds == 0 { "nothing".to_owned() } else { format_duration(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rds_is_asked_for_whole_seconds_before_the_latest_and_never_for_more_than_was_named() {
        let at = |text: &str| text.parse::<Timestamp>().expect("time");
        let window = Window { earliest: at("2026-01-01T00:00:00Z"), latest: at("2026-01-08T14:01:00Z") };
        let named = |text| ToInstance { at: Some(at(text)), ..ToInstance::default() };
        assert_eq!(instant(window, &named("2026-01-08T14:00:30.7Z")), (at("2026-01-08T14:00:30Z"), false));
        assert_eq!(instant(window, &named("2026-01-08T14:05:00Z")), (at("2026-01-08T14:00:59Z"), false));
        let latest = ToInstance { latest: true, ..named("2026-01-08T14:06:00Z") };
        assert_eq!(instant(window, &latest), (at("2026-01-08T14:01:00Z"), true));
    }
}
