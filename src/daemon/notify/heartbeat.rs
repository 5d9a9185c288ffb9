//! The heartbeat: an address that is called when a run begins and when it ends, so that somebody elsewhere notices when nothing runs.

use std::time::Duration;

use super::http::{self, Post};
use super::message::Message;
use crate::base::clock::Clock;
use crate::base::retry::{Backoff, retry};
use crate::base::secret::Secret;
use crate::base::{Error, Result};

/// Names of the calls in notices, for those that are sent again.
pub(super) const SUCCESS: &str = "heartbeat_success";
pub(super) const FAILURE: &str = "heartbeat_failure";
/// Most bytes of a body; services cut it off at 10 or 100 kB.
const BODY_BYTES: usize = 9_000;
/// A service that was restarted answers the second or third call; a late one is better made again later.
const BACKOFF: Backoff = Backoff { tries: 3, first: Duration::from_secs(1), max: Duration::from_secs(3) };

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat<'a> {
    /// It begins.
    Start,
    /// It ended well.
    Success,
    /// It failed.
    Failure {
        /// Its last lines and why it failed; the newest last, since what is too long is cut off at its beginning.
        tail: &'a str,
    },
}

impl Beat<'_> {
    pub(super) const fn event(&self) -> &'static str {
        match self {
            Self::Start => "heartbeat_start",
            Self::Success => SUCCESS,
            Self::Failure { .. } => FAILURE,
        }
    }
}

/// Calls the address for `event`, several times if the service does not answer.
pub(super) async fn call(url: &Secret<String>, event: &str, body: &str, timeout: Duration, clock: &dyn Clock) -> Result<()> {
    retry(clock, BACKOFF, "call the heartbeat", || once(url, event, body, timeout)).await
}

/// Sends a notice of the topic `heartbeat` again, or a test.
pub(super) async fn send(url: &Secret<String>, message: &Message, timeout: Duration) -> Result<()> {
    let body = if message.is_test() { message.body() } else { message.notice.detail.clone() };
    once(url, &message.notice.event, &body, timeout).await
}

/// One call.
pub(super) async fn once(url: &Secret<String>, event: &str, body: &str, timeout: Duration) -> Result<()> {
    let suffix = match event {
        "heartbeat_start" => "start",
        SUCCESS => "",
        FAILURE => "fail",
        // Noted by the service without any effect on the check.
        _ => "log",
    };
    let url = appended(url, suffix)?;
    http::post(
        Post { url: &url, name: "heartbeat", content_type: "text/plain; charset=utf-8", body: newest(body).to_owned() },
        timeout,
    )
    .await
}

/// The address with one more segment.
fn appended(url: &Secret<String>, suffix: &str) -> Result<Secret<String>> {
    let mut url = url::Url::parse(url.expose()).map_err(|_| Error::policy("the heartbeat is not an address"))?;
    if !suffix.is_empty() {
        url.path_segments_mut()
            .map_err(|()| Error::policy("the heartbeat is not an https:// address"))?
            .pop_if_empty()
            .push(suffix);
    }
    Ok(Secret::new(url.into()))
}

/// The end of a text that is too long.
fn newest(text: &str) -> &str {
    let mut from = text.len().saturating_sub(BODY_BYTES);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart_by_the_last_segment() {
        let of = |url: &str, suffix: &str| appended(&Secret::new(url.to_owned()), suffix).expect("address").expose().clone();
        assert_eq!(of("https://hc.example/ping/u-1", "fail"), "https://hc.example/ping/u-1/fail");
        assert_eq!(of("https://hc.example/ping/u-1/", "start"), "https://hc.example/ping/u-1/start");
        assert_eq!(of("https://hc.example/ping/u-1?create=1", "start"), "https://hc.example/ping/u-1/start?create=1");
        assert_eq!(of("https://hc.example/ping/u-1", ""), "https://hc.example/ping/u-1");
    }

    #[test]
    fn of_a_long_tail_the_end_is_kept() {
        let long = format!("first{}é\nlast", "é".repeat(BODY_BYTES));
        assert!(newest(&long).ends_with("last") && newest(&long).len() <= BODY_BYTES);
        assert_eq!(newest("short"), "short");
    }
}
