//! Looks at everything that a nightly run and an incident will need, before they need it.

use serde::Serialize;

use super::context::{Context, Place};
use super::references;
use super::snapshot;
use super::snapshot::drift::{self, Drift};
use super::verify;
use crate::base::ids::random_hex;
use crate::base::{Error, Kind, Result};
use crate::pg::connect::Target;
use crate::pg::facts::{self, ServerFacts};
use crate::pg::scratch;
use crate::pg::version::Version;
use crate::policy::model::Source;
use crate::policy::{Databases, Policy, VerifyLevel};
use crate::repo::Vault;
use crate::repo::listing::Listing;
use crate::store::{Key, PutMode, Store, StoreError, StoreExt as _};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// It works, and there is something to know.
    Warn,
    /// It will not work.
    Fail,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// The policy.
    pub policy: String,
    /// What was looked at: `policy`, `database`, `privileges`, `store`, `conditional writes`, `vault`, `scratch`, of snapshots
    /// `source`, `permissions`, `drift`, and of notifications
    /// `notify`, `webhook`, `email`, `sns`, `heartbeat`.
    pub check: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    #[serde(skip)]
    kind: Option<Kind>,
}

impl Check {
    /// A check of `policy` that passed with what was seen, or failed.
    pub fn of(policy: &str, check: &'static str, outcome: Result<String>) -> Self {
        let (verdict, message, hint, kind) = match outcome {
            Ok(message) => (Verdict::Pass, message, None, None),
            Err(e) => (Verdict::Fail, e.full_message(), e.hint_text().map(str::to_owned), Some(e.kind())),
        };
        Self { policy: policy.to_owned(), check, verdict, message, hint, kind }
    }
}

/// The document of `doctor`.
#[derive(Debug, Default, Serialize)]
pub struct DoctorReport {
    /// The checks, in order.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// The first failed check decides the exit code.
    pub fn failure(&self) -> Option<Error> {
        let failed: Vec<&Check> = self.checks.iter().filter(|c| c.verdict == Verdict::Fail).collect();
        let first = failed.first()?;
        let names: Vec<String> = failed.iter().map(|c| format!("{} ({})", c.check, c.policy)).collect();
        let error =
            Error::new(first.kind.unwrap_or(Kind::Internal), format!("{} checks failed: {}", failed.len(), names.join(", ")));
        Some(match &first.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        })
    }
}

struct Ward<'a> {
    policy: String,
    report: &'a mut DoctorReport,
}

impl Ward<'_> {
    fn say(&mut self, check: &'static str, verdict: Verdict, message: impl Into<String>, hint: Option<&str>) {
        self.report.checks.push(Check {
            policy: self.policy.clone(),
            check,
            verdict,
            message: message.into(),
            hint: hint.map(str::to_owned),
            kind: None,
        });
    }

    /// Records an error as a failed check, a value as nothing.
    fn check<T>(&mut self, check: &'static str, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.say(check, Verdict::Fail, error.full_message(), error.hint_text());
                if let Some(last) = self.report.checks.last_mut() {
                    last.kind = Some(error.kind());
                }
                None
            }
        }
    }
}

/// Checks one policy, or all.
pub async fn doctor(cx: &Context, policy: Option<&str>) -> Result<DoctorReport> {
    let names = match policy {
        Some(name) => vec![name.to_owned()],
        None => cx.names().await?,
    };
    let mut report = DoctorReport::default();
    for name in names {
        let mut ward = Ward { policy: name.clone(), report: &mut report };
        let opened = cx.place(&name).await;
        if let Err(error) = &opened
            && error.kind() == Kind::NotFound
            && policy.is_some()
        {
            return Err(opened.err().unwrap_or_else(|| Error::internal("unreachable")));
        }
        let Some(place) = ward.check("policy", opened) else { continue };
        examine(cx, &place, &mut ward).await;
    }
    Ok(report)
}

async fn examine(cx: &Context, place: &Place, ward: &mut Ward<'_>) {
    if let Some(policy) = &place.policy {
        ward.say("policy", Verdict::Pass, format!("{} is valid", policy.path.display()), None);
        let facts = match policy.source {
            Source::Postgres(_) => examine_database(cx, place, ward).await,
            Source::Ebs(_) | Source::Rds(_) => {
                examine_snapshots(cx, place, policy, ward).await;
                None
            }
        };
        if policy.verify.level == VerifyLevel::Restore
            && let Some(facts) = facts
        {
            examine_scratch(cx, place, &facts, ward).await;
        }
    }
    examine_store(cx, place, ward).await;
}

async fn examine_database(cx: &Context, place: &Place, ward: &mut Ward<'_>) -> Option<ServerFacts> {
    let source = ward.check("policy", place.policy().and_then(|p| p.postgres()))?;
    ward.check("database", references::fetch(&source.url, &cx.env).await)?;
    let target = ward.check("database", source.url(&cx.env).and_then(|url| Target::parse(&url)))?;
    let names = match &source.databases {
        Databases::OfUrl => vec![target.database().to_owned()],
        Databases::Named(names) => names.clone(),
        Databases::All => ward.check("database", facts::databases(&target).await)?,
    };
    let mut last = None;
    for name in names {
        let target = target.with_database(&name);
        let Some(facts) = ward.check("database", facts::server_facts(&target).await) else { continue };
        ward.say("database", Verdict::Pass, format!("{}: PostgreSQL {}", target.describe(), facts.version_text), None);
        if facts.version.major() > Version::NEWEST_TESTED {
            let message = format!(
                "PostgreSQL {} is newer than this pgkeep was tested with ({})",
                facts.version.major(),
                Version::NEWEST_TESTED
            );
            ward.say("database", Verdict::Warn, message, Some("update pgkeep; until then verify each backup with a drill"));
        }
        if facts.superuser {
            ward.say("privileges", Verdict::Pass, format!("{} is a superuser: everything can be read", facts.user), None);
        } else {
            let message = format!(
                "{} is not a superuser: passwords of roles are not in the backup, and each table needs SELECT",
                facts.user
            );
            let hint =
                format!("GRANT pg_read_all_data TO \"{}\" covers all tables (14 and newer)", facts.user.replace('"', "\"\""));
            ward.say("privileges", Verdict::Warn, message, Some(&hint));
        }
        last = Some(facts);
    }
    last
}

async fn examine_snapshots(cx: &Context, place: &Place, policy: &Policy, ward: &mut Ward<'_>) {
    let Some(snapshots) = ward.check("source", snapshot::of_policy(cx, policy)) else { return };
    if ward.check("source", snapshots.look().await).is_some() {
        ward.say("source", Verdict::Pass, format!("what the {} source names is there", policy.source.kind()), None);
    }
    let mut unknown = Vec::new();
    for permission in snapshots.permissions().await {
        match permission.outcome {
            Some(Ok(())) => ward.say("permissions", Verdict::Pass, format!("{} is allowed", permission.action), None),
            Some(outcome) if permission.needed => {
                ward.check("permissions", outcome);
            }
            Some(outcome) => {
                let error = outcome.err();
                let message = error.as_ref().map(Error::full_message).unwrap_or_default();
                ward.say("permissions", Verdict::Warn, message, error.as_ref().and_then(Error::hint_text));
            }
            None => unknown.push(permission.action),
        }
    }
    if !unknown.is_empty() {
        let message = format!("AWS does not tell without doing it whether these are allowed: {}", unknown.join(", "));
        ward.say("permissions", Verdict::Warn, message, Some("compare the role with what `pgkeep iam-policy` prints"));
    }
    let Ok(vault) = Vault::open(place.store.clone(), &place.name, cx.clock.clone()).await else { return };
    let Ok(listing) = Listing::read(&vault).await else { return };
    if let Some(Some(found)) = ward.check("drift", drift::find(cx, &vault, policy, &listing).await) {
        say_drift(ward, &found);
    }
}

fn say_drift(ward: &mut Ward<'_>, found: &Drift) {
    for untagged in found.missing.iter().filter(|m| m.untagged) {
        let message =
            format!("snapshot {} of backup {} has lost our tags: no prune deletes it", untagged.snapshot, untagged.backup);
        ward.say("drift", Verdict::Warn, message, Some("find out who removes tags; delete it by hand when its backup is gone"));
    }
    for missing in found.missing.iter().filter(|m| !m.untagged) {
        let error = Error::integrity(format!(
            "backup {} cannot be restored whole: snapshot {} of {} in {} is gone",
            missing.backup, missing.snapshot, missing.of, missing.region
        ));
        ward.check::<()>("drift", Err(error.hint("find out who deletes snapshots: a lifecycle policy, a person, another tool")));
    }
    for unknown in found.unknown.iter().filter(|u| !u.left_by_run) {
        let message = format!(
            "snapshot {} of {} in {} carries our tags and no backup names it",
            unknown.snapshot, unknown.of, unknown.region
        );
        ward.say("drift", Verdict::Warn, message, Some("it costs money; delete it by hand if nobody needs it"));
    }
    if found.is_empty() {
        ward.say("drift", Verdict::Pass, "AWS has exactly the snapshots that the backups name", None);
    }
}

async fn examine_scratch(cx: &Context, place: &Place, facts: &ServerFacts, ward: &mut Ward<'_>) {
    let where_to = match verify::scratch_place(cx, place, None).await {
        Ok(where_to) => where_to,
        Err(error) => {
            ward.check::<()>("scratch", Err(error));
            return;
        }
    };
    let found = scratch::available(&where_to, facts.version.major()).await;
    if let Some(what) = ward.check("scratch", found) {
        ward.say("scratch", Verdict::Pass, format!("drills run on {what}"), None);
    }
}

async fn examine_store(cx: &Context, place: &Place, ward: &mut Ward<'_>) {
    let store = place.store.as_ref();
    if ward.check("store", probe(store).await).is_none() {
        return;
    }
    ward.say(
        "store",
        Verdict::Pass,
        format!("{}: objects can be written, read, listed and deleted, conditional writes hold", store.describe()),
        None,
    );
    match Vault::open(place.store.clone(), &place.name, cx.clock.clone()).await {
        Err(error) if error.kind() == Kind::NotFound => {
            ward.say("vault", Verdict::Pass, "no backup yet; the first makes the vault", None);
        }
        opened => {
            let listing = match opened {
                Ok(vault) => Listing::read(&vault).await,
                Err(error) => Err(error),
            };
            if let Some(listing) = ward.check("vault", listing) {
                for damaged in &listing.damaged {
                    ward.check::<()>("vault", Err(Error::integrity(format!("backup {}: {}", damaged.backup, damaged.error))));
                }
                ward.say("vault", Verdict::Pass, format!("{} backups", listing.backups.len()), None);
            }
        }
    }
}

/// Writes, reads, lists and deletes one small object, and sees whether a conditional write is refused when it must be.
async fn probe(store: &dyn Store) -> Result<()> {
    use futures::TryStreamExt as _;
    let key: Key = format!("pgkeep-doctor/{}", random_hex(8)).parse()?;
    let body = bytes::Bytes::from(random_hex(16));
    store.put(&key, body.clone(), PutMode::Create).await?;
    let outcome = async {
        if store.get(&key).await? != body {
            return Err(Error::integrity(format!("{} gives back something else than was written", store.describe())));
        }
        let listed: Vec<_> = store.list("pgkeep-doctor/").try_collect().await?;
        if !listed.iter().any(|o| o.key == key) {
            return Err(Error::integrity(format!("{} does not list an object that was just written", store.describe())));
        }
        match store.put(&key, body.clone(), PutMode::Create).await {
            Err(StoreError::AlreadyExists(_)) => Ok(()),
            Err(other) => Err(other.into()),
            Ok(_) => Err(Error::unsupported(format!("{} ignores conditional writes (If-None-Match)", store.describe()))
                .hint("two runs could overwrite each other's lease; use Amazon S3 or a store that supports conditional writes")),
        }
    }
    .await;
    store.delete(&key).await?;
    outcome
}
