//! What machines ask every few seconds: answered from the state alone.

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;
use super::answer::Answer;
use super::guard::NO_COMMAND;
use crate::base::Error;
use crate::daemon::metrics::{self, ProcessStats};

/// `GET /health`: whoever gets this answer knows that the process lives.
pub(super) async fn health(State(app): State<App>) -> Answer {
    let (version, started_at) = app.state.with(|s| (s.version, s.started_at));
    Answer::of("health", &json!({ "version": version, "started_at": started_at }), None)
}

/// `GET /ready`: 200 if policies are loaded and the scheduler's loop goes round, else 503 with the reasons.
pub(super) async fn ready(State(app): State<App>) -> Answer {
    let now = app.cx.clock.now();
    let (reasons, alive_at, policies) = app.state.with(|s| (s.not_ready(now), s.alive_at, s.policies.len()));
    let failure = (!reasons.is_empty()).then(|| Error::unavailable(reasons.join("; ")));
    Answer::of("ready", &json!({ "alive_at": alive_at, "policies": policies }), failure)
}

/// `GET /metrics`: `docs/METRICS.md`.
pub(super) async fn metrics(State(app): State<App>) -> Response {
    match metrics::render(app.state.snapshot(), app.cx.clock.now(), ProcessStats::read()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => Answer::error("metrics", error).into_response(),
    }
}

/// Every other path.
pub(super) async fn nothing_here(uri: Uri) -> Answer {
    let error = Error::not_found(format!("there is nothing at {}", uri.path()))
        .hint("there are /health, /ready, /metrics and /api/v1/ with policies, backups, runs and proofs: see docs/JSON.md");
    Answer::error(NO_COMMAND, error)
}

/// A known path with a method that it does not know.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Answer {
    let error = Error::usage(format!("{} does not answer to {method}", uri.path()));
    Answer::error(NO_COMMAND, error).status(StatusCode::METHOD_NOT_ALLOWED)
}
