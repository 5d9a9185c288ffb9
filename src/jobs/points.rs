//! For every policy, the point that a restore at one time would use, what it loses and how long it takes: the first screen of an incident.

use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::context::{Context, Place};
use super::list::{BackupRow, ListReport, Proofs, row};
use super::snapshot::rds::in_time::offer_at;
use super::snapshot::restore::PointInTime;
use super::snapshot::{ebs, rds};
use crate::base::clock::elapsed;
use crate::base::ids::BackupId;
use crate::base::units::{format_bytes, format_duration};
use crate::base::{Error, Kind, Result};
use crate::policy::time::parse_at;
use crate::policy::{Policy, Source};
use crate::repo::Vault;
use crate::repo::head::Head;
use crate::repo::listing::{Listing, Selector};
use crate::repo::pins::{self, Pin};
use crate::repo::proofs::{self, Level};
use crate::repo::runs::{self, Run, RunKind, RunState};

/// Policies that are looked at together: a store that does not answer must not hold up the others.
const TOGETHER: usize = 16;
/// Newest run records among which a restore is looked for.
const RUNS: usize = 64;
/// Bytes of COPY text a second where no restore was ever measured: what a small cloud server with its indexes loads, rather less than more.
const ASSUMED_BYTES_PER_SECOND: f64 = (20 << 20) as f64;
/// How long RDS is waited for.
const AWS_PATIENCE: Duration = Duration::from_secs(15);
/// A measured backup of about this one's size is not scaled.
const ALIKE: std::ops::RangeInclusive<f64> = 0.9..=1.1;

/// What a policy has for one time.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// The policy.
    pub policy: String,
    /// Kind of its source; `None` where nothing says.
    pub kind: Option<String>,
    /// The time that was asked for, read in the policy's zone.
    pub at: Option<Timestamp>,
    /// The backup that `restore --at` would use: the newest at or before that time.
    pub backup: Option<BackupId>,
    /// The instant that it shows.
    pub consistent_at: Option<Timestamp>,
    /// Seconds from there to the time that was asked for: what was done in them is lost.
    pub loss_seconds: Option<u64>,
    /// What the user called it.
    pub label: Option<String>,
    /// The deepest level at which it is proven.
    pub proven: Option<Level>,
    /// Whether a verification failed and none as deep passed since.
    pub damaged: bool,
    /// Why it is suspicious; empty for one that somebody acknowledged.
    pub anomalies: Vec<String>,
    /// Where the backup is damaged or suspicious: the newest before it that is not.
    pub instead: Option<Instead>,
    /// How long its restore takes.
    pub restore: Option<RestoreTime>,
    /// What RDS's automated backups offer beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<PointInTime>,
    /// Why there is no point, or what stands in the way.
    pub problem: Option<String>,
}

/// A point to fall back on.
#[derive(Debug, Clone, Serialize)]
pub struct Instead {
    /// The backup.
    pub backup: BackupId,
    /// The instant that it shows.
    pub consistent_at: Timestamp,
    /// Seconds from there to the time that was asked for.
    pub loss_seconds: u64,
    /// The deepest level at which it is proven.
    pub proven: Option<Level>,
}

/// Where a time to restore comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// A drill that passed.
    Drill,
    /// A restore that somebody made.
    Restore,
    /// Nothing was ever measured.
    Estimate,
}

/// How long a restore takes.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreTime {
    /// Seconds, scaled to the size of this backup.
    pub seconds: f64,
    /// Where that comes from.
    pub basis: Basis,
    /// The same as a sentence.
    pub why: String,
}

/// A restore whose time was taken.
#[derive(Debug, Clone)]
struct Measured {
    basis: Basis,
    at: Timestamp,
    backup: BackupId,
    seconds: f64,
    /// Of COPY text; zero for kinds whose data do not pass through pgkeep.
    bytes: u64,
}

/// Looks at every policy. One whose file, store or vault is in trouble says so in its own point; the error is that of the first.
pub async fn points(cx: &Context, at: &str) -> Result<(ListReport, Option<Error>)> {
    let (names, mut failed) = cx.usable_names().await?;
    let mut report = ListReport::default();
    report.problems.extend(failed.iter().map(|(name, error)| format!("{name}: {error}")));
    let mut failure = None;
    let looks = names.into_iter().map(|name| async move {
        let outcome = point(cx, &name, at).await;
        (name, outcome)
    });
    let looked: Vec<_> = futures::stream::iter(looks).buffered(TOGETHER).collect().await;
    let mut out_of_reach = Vec::new();
    for (name, outcome) in looked {
        match outcome {
            Ok(found) => {
                report.points.push(found.point);
                report.backups.extend(found.row);
                report.problems.extend(found.problems);
                out_of_reach.extend(found.failure.map(|error| (name, error)));
            }
            // A time that cannot be read is the caller's mistake, not a policy's.
            Err(error) if error.kind() == Kind::Usage => return Err(error),
            Err(error) => failed.push((name, error)),
        }
    }
    for (name, error) in failed {
        if !report.problems.iter().any(|p| p.starts_with(&format!("{name}: "))) {
            report.problems.push(format!("{name}: {error}"));
        }
        report.points.push(Point { problem: Some(error.full_message()), ..empty(&name) });
        failure.get_or_insert(error.context(name));
    }
    for (name, error) in out_of_reach {
        failure.get_or_insert(error.context(name));
    }
    report.points.sort_by(|a, b| a.policy.cmp(&b.policy));
    if let (Some(first), true) = (report.points.first(), report.backups.is_empty()) {
        let nothing = || {
            Error::not_found("no policy has a point at or before that time")
                .hint(format!("`pgkeep list {}` shows what there is", first.policy))
        };
        failure.get_or_insert_with(nothing);
    }
    report.problems.extend(different_instants(&report.points, at));
    Ok((report, failure))
}

/// Policies of different zones read a time without one differently.
fn different_instants(points: &[Point], text: &str) -> Option<String> {
    let mut instants: Vec<Timestamp> = points.iter().filter_map(|p| p.at).collect();
    instants.sort_unstable();
    let (first, last) = (*instants.first()?, *instants.last()?);
    // `2h ago` moves while policies are looked at.
    (elapsed(first, last) > Duration::from_secs(60)).then(|| {
        format!(
            "'{text}' is read in each policy's zone, and means instants from {first} to {last}; write the zone, such as {first}"
        )
    })
}

fn empty(policy: &str) -> Point {
    Point {
        policy: policy.to_owned(),
        kind: None,
        at: None,
        backup: None,
        consistent_at: None,
        loss_seconds: None,
        label: None,
        proven: None,
        damaged: false,
        anomalies: Vec::new(),
        instead: None,
        restore: None,
        point_in_time: None,
        problem: None,
    }
}

/// What one policy has.
struct Found {
    point: Point,
    row: Option<BackupRow>,
    problems: Vec<String>,
    /// Why its vault cannot be read.
    failure: Option<Error>,
}

/// Vault and AWS are asked apart: where one is out of reach, the other may be the only way back.
async fn point(cx: &Context, name: &str, text: &str) -> Result<Found> {
    let place = cx.place(name).await;
    let policy = place.as_ref().map_or_else(|_| cx.policy(name).ok(), |place| place.policy.clone());
    let (place, policy) = match (place, policy) {
        (Err(error), None) => return Err(error),
        found => found,
    };
    let at = parse_at(text, cx.clock.now(), &policy.as_ref().map_or(TimeZone::UTC, |p| p.zone().clone()))?;
    let mut point = Point { at: Some(at), kind: policy.as_ref().map(|p| p.source.kind().to_owned()), ..empty(name) };
    let (offer, kept) = tokio::join!(in_time(policy.as_ref(), at), async { in_vault(cx, &place?, at, &mut point).await });
    let (row, mut problems, failure) = match kept {
        Ok((row, problems)) => (row, problems, None),
        Err(error) => {
            point.problem = Some(error.full_message());
            (None, vec![format!("{name}: {error}")], Some(error))
        }
    };
    match (offer, &mut point.problem) {
        (Ok(offer), _) => point.point_in_time = offer,
        (Err(why), Some(problem)) => problem.extend(["; ", &why]),
        (Err(why), None) => problems.push(format!("{name}: {why}")),
    }
    Ok(Found { point, row, problems, failure })
}

async fn in_vault(cx: &Context, place: &Place, at: Timestamp, point: &mut Point) -> Result<(Option<BackupRow>, Vec<String>)> {
    let name = &place.name;
    let vault = match Vault::open(place.store.clone(), name, cx.clock.clone()).await {
        Err(error) if error.kind() == Kind::NotFound && place.policy.is_some() => {
            point.problem = Some("there is no backup yet".to_owned());
            return Ok((None, Vec::new()));
        }
        vault => vault?,
    };
    let (listing, proofs, pins) = tokio::try_join!(Listing::read(&vault), Proofs::read(&vault), pins::all(&vault))?;
    let problems: Vec<String> =
        listing.damaged.iter().map(|d| format!("{name}: backup {}: {}", d.backup, d.error.full_message())).collect();
    let head = match listing.find(&Selector::At(at)) {
        Ok(head) => head,
        Err(error) if error.kind() == Kind::NotFound => {
            point.problem = Some(error.full_message());
            return Ok((None, problems));
        }
        Err(error) => return Err(error),
    };
    describe(point, at, head, &listing, &proofs, &pins);
    point.restore = Some(restore_time(&vault, &listing, &proofs, head).await?);
    Ok((Some(row(name, head, &proofs, &pins)?), problems))
}

/// What the automated backups offer, where AWS says so soon enough: the screen of an incident must not wait for it. The error is a sentence for people,
/// who must not take "not known" for "none".
async fn in_time(policy: Option<&Policy>, at: Timestamp) -> std::result::Result<Option<PointInTime>, String> {
    let Some(Source::Rds(source)) = policy.map(|p| &p.source) else { return Ok(None) };
    match tokio::time::timeout(AWS_PATIENCE, offer_at(source, at)).await {
        Ok(Ok(offer)) => Ok(offer),
        Ok(Err(error)) => Err(format!("point in time: not known: {}", error.full_message())),
        Err(_) => Err(format!("point in time: not known: AWS did not answer within {}", format_duration(AWS_PATIENCE))),
    }
}

fn describe(point: &mut Point, at: Timestamp, head: &Head, listing: &Listing, proofs: &Proofs, pins: &[Pin]) {
    let acknowledged = |h: &Head| h.anomalies.is_empty() || pins.iter().any(|p| p.backup == h.backup);
    let sound = |h: &&Head| acknowledged(h) && !proofs.failed(&h.backup) && h.consistent_at <= at;
    point.kind = head.source["kind"].as_str().map(str::to_owned).or_else(|| point.kind.take());
    point.backup = Some(head.backup.clone());
    point.consistent_at = Some(head.consistent_at);
    point.loss_seconds = Some(elapsed(head.consistent_at, at).as_secs());
    point.label.clone_from(&head.label);
    point.proven = proofs.level(&head.backup);
    point.damaged = proofs.failed(&head.backup);
    if !acknowledged(head) {
        point.anomalies.clone_from(&head.anomalies);
    }
    if !sound(&head) {
        point.instead = listing.backups.iter().filter(sound).max_by_key(|h| h.consistent_at).map(|h| Instead {
            backup: h.backup.clone(),
            consistent_at: h.consistent_at,
            loss_seconds: elapsed(h.consistent_at, at).as_secs(),
            proven: proofs.level(&h.backup),
        });
    }
}

async fn restore_time(vault: &Vault, listing: &Listing, proofs: &Proofs, head: &Head) -> Result<RestoreTime> {
    let (drill, restore) = tokio::try_join!(last_drill(vault, listing, proofs), last_restore(vault))?;
    let measured = [drill, restore].into_iter().flatten().max_by_key(|m| m.at);
    Ok(measured.map_or_else(|| estimate(head), |measured| scaled(&measured, head)))
}

/// The newest drill that passed.
async fn last_drill(vault: &Vault, listing: &Listing, proofs: &Proofs) -> Result<Option<Measured>> {
    let drilled = |h: &Head| proofs.of(&h.backup).iter().filter(|v| v.passed && v.level == Level::Restore).map(|v| v.at).max();
    let Some((_, head)) = listing.backups.iter().filter_map(|h| Some((drilled(h)?, h))).max_by_key(|(at, _)| *at) else {
        return Ok(None);
    };
    let documents = proofs::of(vault, &head.backup).await?;
    let Some(proof) = documents.into_iter().rev().find(|p| p.passed && p.level == Level::Restore) else { return Ok(None) };
    let databases = proof.details["databases"].as_array().map(Vec::as_slice).unwrap_or_default();
    let seconds: f64 = databases.iter().filter_map(|d| d["restore_seconds"].as_f64()).sum();
    let bytes = databases.iter().filter_map(|d| d["bytes"].as_u64()).sum();
    let seconds = if databases.is_empty() { proof.seconds } else { seconds };
    Ok(Some(Measured { basis: Basis::Drill, at: proof.at, backup: head.backup.clone(), seconds, bytes }))
}

/// The newest restore that succeeded, among the newest runs.
async fn last_restore(vault: &Vault) -> Result<Option<Measured>> {
    let good = |r: &Run| r.kind == RunKind::Restore && r.state == RunState::Succeeded;
    let found = runs::newest(vault, RUNS).await?.into_iter().find(good);
    Ok(found.and_then(|run| {
        Some(Measured {
            basis: Basis::Restore,
            at: run.started_at,
            backup: run.backup?,
            seconds: run.stages.iter().map(|s| s.seconds).sum(),
            bytes: run.stages.iter().map(|s| s.bytes).sum(),
        })
    }))
}

fn scaled(measured: &Measured, head: &Head) -> RestoreTime {
    let what = if measured.basis == Basis::Drill { "the drill" } else { "the restore" };
    let took = format_duration(Duration::from_secs_f64(measured.seconds.max(0.0)));
    let day = measured.at.strftime("%Y-%m-%d");
    let size = head.counts.plain_bytes;
    let factor = if measured.bytes == 0 || size == 0 { 1.0 } else { size as f64 / measured.bytes as f64 };
    let (seconds, why) = if measured.backup == head.backup && ALIKE.contains(&factor) {
        (measured.seconds, format!("{what} of this backup on {day} took {took}"))
    } else if ALIKE.contains(&factor) {
        (measured.seconds, format!("{what} of backup {} on {day} took {took}", measured.backup))
    } else {
        let sizes = format!("{} where this one has {}", format_bytes(measured.bytes), format_bytes(size));
        (measured.seconds * factor, format!("{what} of backup {} on {day} took {took} for {sizes}", measured.backup))
    };
    RestoreTime { seconds, basis: measured.basis, why }
}

fn estimate(head: &Head) -> RestoreTime {
    let lazily = "never measured; AWS reads the data as they are first used, slowly";
    let (seconds, why) = match head.source["kind"].as_str() {
        Some("ebs") => (ebs::restore::seconds(head.counts.objects), format!("volumes can be attached within minutes: {lazily}")),
        Some("rds") => (rds::plan::USUAL_SECONDS, format!("a new instance takes 10 to 30 minutes: {lazily}")),
        _ => return estimate_of_text(head),
    };
    RestoreTime { seconds: seconds as f64, basis: Basis::Estimate, why }
}

fn estimate_of_text(head: &Head) -> RestoreTime {
    let bytes = head.counts.plain_bytes;
    let rate = format_bytes(ASSUMED_BYTES_PER_SECOND as u64);
    RestoreTime {
        seconds: bytes as f64 / ASSUMED_BYTES_PER_SECOND,
        basis: Basis::Estimate,
        why: format!(
            "never measured: {} reckoned at {rate}/s; `pgkeep verify {} --level restore` measures it",
            format_bytes(bytes),
            head.policy
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: u64) -> Head {
        serde_json::from_value(serde_json::json!({
            "format": 1, "backup": "20261122T021500Z-7f3a", "policy": "p", "vault_id": "v", "write_id": "w", "generation": 1, "tool": "t",
            "started_at": "2026-11-22T02:15:00Z", "consistent_at": "2026-11-22T02:15:00Z", "committed_at": "2026-11-22T02:16:00Z",
            "contents": {"key": "k", "size": 1, "sha256": "00".repeat(32)},
            "counts": {"parts": 1, "new_parts": 1, "plain_bytes": bytes, "stored_bytes": 1, "new_stored_bytes": 1, "rows": 1, "objects": 1, "tables": 1},
            "source": {"kind": "postgres"}
        }))
        .expect("head")
    }

    #[test]
    fn a_measured_time_is_scaled_to_the_size_and_says_so() {
        let other: BackupId = "20261121T021500Z-aaaa".parse().expect("id");
        let at = "2026-11-21T05:00:00Z".parse().expect("time");
        let drill = Measured { basis: Basis::Drill, at, backup: other.clone(), seconds: 100.0, bytes: 1 << 30 };
        let double = scaled(&drill, &head(2 << 30));
        assert!((double.seconds - 200.0).abs() < 0.1, "{double:?}");
        assert!(double.why.contains("1.0 GiB where this one has 2.0 GiB"), "{double:?}");
        let same = scaled(&Measured { backup: head(1).backup, ..drill.clone() }, &head(1 << 30));
        assert_eq!(same.why, "the drill of this backup on 2026-11-21 took 1m 40s");
        let no_size = scaled(&Measured { basis: Basis::Restore, bytes: 0, ..drill }, &head(0));
        assert!((no_size.seconds - 100.0).abs() < 0.1 && no_size.why.starts_with("the restore of backup"), "{no_size:?}");
        assert_eq!(estimate(&head(20 << 20)).basis, Basis::Estimate);
        assert!((estimate(&head(20 << 20)).seconds - 1.0).abs() < 0.01);
    }
}
