//! `POST /api/v1/policies/{policy}/…`: what the scheduler is asked to do. The guard has seen the token.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::App;
use super::answer::Answer;
use crate::base::limits::HTTP_BODY_BYTES;
use crate::base::{Error, Result};
use crate::daemon::control::Request;
use crate::repo::proofs::Level;

type Body = Result<Bytes, BytesRejection>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RunOptions {
    label: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct VerifyOptions {
    level: Option<Level>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NoOptions {}

/// `POST …/run`: a backup now, with `{"label": …}`.
pub(super) async fn run(State(app): State<App>, Path(policy): Path<String>, body: Body) -> Answer {
    ask(&app, "run", body, |o: RunOptions| Request::Backup { policy, label: o.label }).await
}

/// `POST …/verify`: the newest backup now, with `{"level": …}`.
pub(super) async fn verify(State(app): State<App>, Path(policy): Path<String>, body: Body) -> Answer {
    ask(&app, "verify", body, |o: VerifyOptions| Request::Verify { policy, level: o.level }).await
}

/// `POST …/prune`: retention now.
pub(super) async fn prune(State(app): State<App>, Path(policy): Path<String>, body: Body) -> Answer {
    ask(&app, "prune", body, |_: NoOptions| Request::Prune { policy }).await
}

/// `POST …/cancel`: the run that goes on or waits.
pub(super) async fn cancel(State(app): State<App>, Path(policy): Path<String>, body: Body) -> Answer {
    ask(&app, "cancel", body, |_: NoOptions| Request::Cancel { policy }).await
}

/// 202 with the run's id once the scheduler has accepted; the run itself is in the state.
async fn ask<O: DeserializeOwned + Default>(
    app: &App,
    command: &'static str,
    body: Body,
    request: impl FnOnce(O) -> Request,
) -> Answer {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            let error = Error::usage(format!("the body cannot be read: {}", rejection.body_text()))
                .hint(format!("send JSON of at most {HTTP_BODY_BYTES} bytes, or nothing"));
            return Answer::error(command, error).status(rejection.status());
        }
    };
    let outcome = async {
        let request = request(options(&body)?);
        tracing::info!(policy = request.policy(), command, "asked by HTTP");
        let policy = request.policy().to_owned();
        let run = app.control.ask(request).await?;
        Ok(Answer::of(command, &json!({ "policy": policy, "run": run }), None).status(StatusCode::ACCEPTED))
    };
    Answer::from(command, outcome.await)
}

/// A body is an object, or nothing.
fn options<O: DeserializeOwned + Default>(body: &[u8]) -> Result<O> {
    if body.trim_ascii().is_empty() {
        return Ok(O::default());
    }
    serde_json::from_slice::<Map<String, Value>>(body)
        .and_then(|fields| serde_json::from_value(Value::Object(fields)))
        .map_err(|e| Error::usage(format!("the body is not what this command takes: {e}")).hint("see docs/JSON.md"))
}
