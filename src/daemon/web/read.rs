//! `GET /api/v1/…`: policies from the state; backups, runs and proofs from the vaults.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::App;
use super::answer::Answer;
use crate::base::ids::BackupId;
use crate::base::{Error, Result};
use crate::daemon::state::PolicyState;
use crate::jobs::{history, list};
use crate::policy::PolicyName;

/// Runs and proofs when nobody says how many.
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1000;

/// What may stand after `?`. Others are refused: a misspelt filter must not look like an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Filter {
    policy: Option<String>,
    backup: Option<String>,
    at: Option<String>,
    limit: Option<usize>,
}

type Asked = Result<Query<Filter>, QueryRejection>;

#[derive(Serialize)]
struct PolicyRow {
    policy: String,
    #[serde(flatten)]
    state: PolicyState,
}

impl App {
    /// Does `work` on the vaults when it is this request's turn.
    async fn read<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let turn = self.readers.acquire().await.map_err(|e| Error::internal("wait for a turn to read").source(e))?;
        let outcome = self.cx.shutdown.guard(work).await;
        drop(turn);
        outcome
    }

    /// The policy of that name, if it is in force.
    fn known(&self, name: &str) -> Result<PolicyName> {
        let name: PolicyName = name.parse()?;
        if self.state.with(|s| s.policies.contains_key(name.as_str())) {
            return Ok(name);
        }
        Err(Error::not_found(format!("no policy '{name}' is in force")).hint("/api/v1/policies lists those that are"))
    }

    /// The filter with its policy checked; fails where it has a field that `allowed` does not name.
    fn filter(&self, asked: Asked, allowed: &[&str]) -> Result<Filter> {
        let Query(filter) =
            asked.map_err(|e| Error::usage(e.body_text()).hint("see docs/JSON.md for what may stand after `?`"))?;
        let given = [
            ("policy", filter.policy.is_some()),
            ("backup", filter.backup.is_some()),
            ("at", filter.at.is_some()),
            ("limit", filter.limit.is_some()),
        ];
        if let Some((name, _)) = given.iter().find(|(name, given)| *given && !allowed.contains(name)) {
            return Err(Error::usage(format!("'{name}' has no meaning here")).hint(format!("there are: {}", allowed.join(", "))));
        }
        if let Some(name) = &filter.policy {
            self.known(name)?;
        }
        Ok(filter)
    }
}

impl Filter {
    fn limit(&self) -> Result<usize> {
        match self.limit {
            None => Ok(DEFAULT_LIMIT),
            Some(limit @ 1..=MAX_LIMIT) => Ok(limit),
            Some(_) => Err(Error::usage(format!("'limit' must be between 1 and {MAX_LIMIT}"))),
        }
    }
}

/// `GET /api/v1/policies`.
pub(super) async fn policies(State(app): State<App>) -> Answer {
    let (now, snapshot) = (app.cx.clock.now(), app.state.snapshot());
    let rows = snapshot.policies.into_iter().map(|(policy, state)| PolicyRow { policy, state: state.at(now) });
    let document = json!({
        "host": snapshot.host,
        "version": snapshot.version,
        "started_at": snapshot.started_at,
        "alive_at": snapshot.alive_at,
        "stopping": snapshot.stopping,
        "max_runs": snapshot.max_runs,
        "queue": snapshot.queue,
        "reload": snapshot.reload,
        "policies": rows.map(|row| serde_json::to_value(row).unwrap_or(Value::Null)).collect::<Vec<_>>(),
    });
    Answer::of("policies", &document, None)
}

/// `GET /api/v1/policies/{policy}`.
pub(super) async fn policy(State(app): State<App>, Path(name): Path<String>) -> Answer {
    let found = app.known(&name).and_then(|name| {
        let gone = || Error::not_found(format!("no policy '{name}' is in force"));
        let state = app.state.policy(name.as_str()).ok_or_else(gone)?;
        Ok(Answer::of("policy", &PolicyRow { policy: name.to_string(), state: state.at(app.cx.clock.now()) }, None))
    });
    Answer::from("policy", found)
}

/// `GET /api/v1/backups`: the document of `pgkeep list`.
pub(super) async fn backups(State(app): State<App>, asked: Asked) -> Answer {
    let outcome = async {
        let filter = app.filter(asked, &["policy", "at"])?;
        let (report, failure) = app.read(list::list(&app.cx, filter.policy.as_deref(), filter.at.as_deref())).await?;
        Ok(Answer::of("list", &report, failure))
    };
    Answer::from("list", outcome.await)
}

/// `GET /api/v1/backups/{policy}/{backup}`: the document of `pgkeep show`; `latest` is the newest.
pub(super) async fn backup(State(app): State<App>, Path((name, backup)): Path<(String, String)>) -> Answer {
    let outcome = async {
        let name = app.known(&name)?;
        let backup = (backup != "latest").then_some(backup.as_str());
        let report = app.read(list::show(&app.cx, name.as_str(), backup)).await?;
        Ok(Answer::of("show", &report, None))
    };
    Answer::from("show", outcome.await)
}

/// `GET /api/v1/runs`.
pub(super) async fn runs(State(app): State<App>, asked: Asked) -> Answer {
    let outcome = async {
        let filter = app.filter(asked, &["policy", "limit"])?;
        let (report, failure) = app.read(history::runs(&app.cx, filter.policy.as_deref(), filter.limit()?)).await?;
        Ok(Answer::of("runs", &report, failure))
    };
    Answer::from("runs", outcome.await)
}

/// `GET /api/v1/proofs`.
pub(super) async fn proofs(State(app): State<App>, asked: Asked) -> Answer {
    let outcome = async {
        let filter = app.filter(asked, &["policy", "backup", "limit"])?;
        let backup: Option<BackupId> = filter.backup.as_deref().map(str::parse).transpose()?;
        let work = history::proofs(&app.cx, filter.policy.as_deref(), backup.as_ref(), filter.limit()?);
        let (report, failure) = app.read(work).await?;
        Ok(Answer::of("proofs", &report, failure))
    };
    Answer::from("proofs", outcome.await)
}
