//! HTTP requests to addresses that are secrets: no redirects, bounded in time, and errors that never show the address.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

use crate::base::secret::Secret;
use crate::base::{Error, Result};

/// Most bytes of an answer that are read, to say why a request was refused.
const ANSWER_BYTES: usize = 300;

/// What is sent.
#[derive(Debug)]
pub(super) struct Post<'a> {
    pub(super) url: &'a Secret<String>,
    /// What the address is called in errors: `webhook`, `heartbeat`.
    pub(super) name: &'static str,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

/// Sends, and succeeds when the other side answers 2xx within `timeout`.
pub(super) async fn post(post: Post<'_>, timeout: Duration) -> Result<()> {
    let name = post.name;
    let client = Client::builder()
        .redirect(Policy::none())
        .timeout(timeout)
        .user_agent(concat!("pgkeep/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| Error::internal("make an HTTP client").source(e.without_url()))?;
    let request = client.post(post.url.expose()).header("content-type", post.content_type).body(post.body);
    let answer = request.send().await.map_err(|e| failed(name, e, timeout))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    Err(refused(name, status, &text(answer).await))
}

fn failed(name: &str, error: reqwest::Error, timeout: Duration) -> Error {
    if error.is_timeout() {
        return Error::unavailable(format!("the {name} did not answer within {} s", timeout.as_secs_f64()));
    }
    let hint = "check host and port of the address, and that this machine may reach it";
    let what = if error.is_connect() { "cannot be reached" } else { "did not take the message" };
    Error::unavailable(format!("the {name} {what}")).source(error.without_url()).hint(hint)
}

fn refused(name: &str, status: StatusCode, text: &str) -> Error {
    let said = if text.is_empty() { String::new() } else { format!(": {text}") };
    let message = format!("the {name} answered {status}{said}");
    match status.as_u16() {
        300..=399 => Error::denied(message).hint("it points elsewhere; write the address to which it leads into the policy"),
        401 | 403 | 404 | 410 => Error::denied(message).hint("the address is probably wrong or was revoked; make a new one"),
        408 | 429 | 500..=599 => Error::unavailable(message),
        _ => Error::denied(message).hint("check the address, and `format` in [notify]"),
    }
}

/// The beginning of an answer, on one line.
async fn text(mut answer: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            _ => break,
        }
    }
    bytes.truncate(ANSWER_BYTES);
    let text = String::from_utf8_lossy(&bytes);
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect()
}
