//! What every request goes through: it must mean this machine, bring the token if it is to change something, and be answered in time.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::answer::Answer;
use super::token::Token;
use crate::base::limits::HTTP_ANSWER_TIMEOUT;
use crate::base::units::format_duration;
use crate::base::{Error, Kind};

/// Name of the command in documents about requests that come to none.
pub(super) const NO_COMMAND: &str = "http";

/// Who may do what.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    /// Without one, nothing can be changed.
    pub token: Option<Arc<Token>>,
    /// Whether only this machine is listened to.
    pub loopback: bool,
}

/// The middleware.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if guard.loopback && !means_this_machine(&request) {
        foreign().into_response()
    } else if let Some(refused) = guard.refuses(reads, request.headers()) {
        tracing::warn!(method = %request.method(), path = request.uri().path(), "a command without the right token was refused");
        refused
    } else if let Ok(response) = tokio::time::timeout(HTTP_ANSWER_TIMEOUT, next.run(request)).await {
        response
    } else {
        let text = format!("there was no answer within {}", format_duration(HTTP_ANSWER_TIMEOUT));
        Answer::error(NO_COMMAND, Error::unavailable(text).hint("the store is probably slow; try again")).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl Guard {
    /// The answer to a request that would change something and does not bring the token.
    fn refuses(&self, reads: bool, headers: &HeaderMap) -> Option<Response> {
        if reads {
            return None;
        }
        let Some(token) = &self.token else {
            let error = Error::denied("this daemon takes no commands: it was started without a token")
                .hint("start `pgkeep serve` with --token-file, or with PGKEEP_API_TOKEN in its environment");
            return Some(Answer::error(NO_COMMAND, error).status(StatusCode::FORBIDDEN).into_response());
        };
        if bearer(headers).is_some_and(|offered| token.matches(offered)) {
            return None;
        }
        let error = Error::denied("commands need the daemon's token").hint("send it as `Authorization: Bearer …`");
        let answer = Answer::error(NO_COMMAND, error).status(StatusCode::UNAUTHORIZED);
        Some(([(header::WWW_AUTHENTICATE, "Bearer")], answer).into_response())
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, credentials) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(credentials.trim_ascii())
}

/// A page of somebody else's in a browser of this machine can make its own name point to 127.0.0.1 and read our answers as its own. The name that
/// the browser sends gives it away.
fn means_this_machine(request: &Request) -> bool {
    let header = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    let mut named = header.into_iter().chain(request.uri().authority().map(axum::http::uri::Authority::as_str)).peekable();
    named.peek().is_some() && named.all(is_local)
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn foreign() -> Answer {
    let error = Error::new(Kind::Denied, "this daemon listens on loopback and answers only to its names")
        .hint("ask localhost or 127.0.0.1; a proxy in front must send `Host: localhost`");
    Answer::error(NO_COMMAND, error).status(StatusCode::MISDIRECTED_REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "LOCALHOST:8474", "127.0.0.1:8474", "127.0.0.53", "[::1]", "[::1]:8474"] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8474",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1:8474",
            "[::2]:1",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
