//! From a result or an error to a response: one document, and the status that fits the kind of error.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use crate::base::{Error, Kind, Result};
use crate::jobs::document::envelope;

/// One document of `docs/JSON.md`.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    command: &'static str,
    result: Option<Value>,
    failure: Option<Error>,
}

impl Answer {
    /// A result, and what makes it a failure nevertheless.
    pub(super) fn of(command: &'static str, result: &impl Serialize, failure: Option<Error>) -> Self {
        match serde_json::to_value(result) {
            Ok(result) => {
                let status = failure.as_ref().map_or(StatusCode::OK, |e| status_of(e.kind()));
                Self { status, command, result: Some(result), failure }
            }
            Err(e) => Self::error(command, Error::internal("write the answer as JSON").source(e)),
        }
    }

    /// An error with the status of its kind.
    pub(super) fn error(command: &'static str, error: Error) -> Self {
        Self { status: status_of(error.kind()), command, result: None, failure: Some(error) }
    }

    /// What a handler came to.
    pub(super) fn from(command: &'static str, outcome: Result<Self>) -> Self {
        outcome.unwrap_or_else(|error| Self::error(command, error))
    }

    /// The same with another status: where HTTP tells apart what kinds of errors do not.
    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let document = envelope(self.command, self.result, self.failure.as_ref());
        (self.status, [(header::CONTENT_TYPE, "application/json")], format!("{document}\n")).into_response()
    }
}

/// The one table from kinds of errors to HTTP.
const fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Usage => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Gate => StatusCode::PRECONDITION_FAILED,
        Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        // The store or database behind us refused, and asking us again does not help.
        Kind::Denied => StatusCode::BAD_GATEWAY,
        Kind::Unavailable | Kind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal | Kind::Policy | Kind::Integrity => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
