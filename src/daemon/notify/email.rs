//! E-mail over SMTP.

use std::time::{Duration, SystemTime};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::{self, AsyncSmtpTransport};
use lettre::{AsyncTransport as _, Tokio1Executor};

use super::message::Message;
use crate::base::secret::Secret;
use crate::base::{Error, Result};

pub(super) async fn send(server: &Secret<String>, from: &str, to: &[String], message: &Message, timeout: Duration) -> Result<()> {
    let mail = compose(from, to, message)?;
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&with_tls(server)?)
        .map_err(|e| failed(&e))?
        .timeout(Some(timeout))
        .build::<Tokio1Executor>();
    transport.send(mail).await.map(|_| ()).map_err(|e| failed(&e))
}

/// The address with TLS as we want it: from the start, or by STARTTLS before anything else is said. Only a server on this machine may go
/// without.
fn with_tls(server: &Secret<String>) -> Result<String> {
    let mut url = url::Url::parse(server.expose()).map_err(|_| Error::policy("not the address of a mail server"))?;
    if url.scheme() == "smtp" {
        let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if local && url.port().is_none() {
            let _ = url.set_port(Some(smtp::SMTP_PORT));
        }
        url.set_query(Some(if local { "tls=opportunistic" } else { "tls=required" }));
    }
    Ok(url.to_string())
}

fn compose(from: &str, to: &[String], message: &Message) -> Result<lettre::Message> {
    let notice = &message.notice;
    let mut builder: MessageBuilder = lettre::Message::builder()
        .from(mailbox(from)?)
        .subject(format!("[pgkeep] {}", message.subject()))
        .date(SystemTime::from(notice.at))
        .message_id(Some(format!("<{}@pgkeep.invalid>", notice.id)))
        // All that is said about one problem becomes one thread.
        .references(format!("<{}.{}.{}@pgkeep.invalid>", message.policy, notice.topic.as_str(), notice.since.as_second()))
        // No absence note, please.
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
        .header(ContentType::TEXT_PLAIN);
    for recipient in to {
        builder = builder.to(mailbox(recipient)?);
    }
    builder.body(message.body()).map_err(|e| Error::internal("write an e-mail").source(e))
}

fn mailbox(text: &str) -> Result<Mailbox> {
    text.parse().map_err(|e| Error::policy(format!("'{text}' is not an e-mail address")).source(e))
}

/// What the server said, without the bytes of our side: lettre's own errors hold answers and causes, never credentials.
fn failed(error: &smtp::Error) -> Error {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let part = inner.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = inner.source();
    }
    let text = format!("the mail server did not take the message: {}", text.split_whitespace().collect::<Vec<_>>().join(" "));
    if error.is_tls() {
        return Error::denied(text).hint("the server's certificate must be valid for the host in the address; smtps:// is TLS from the start, smtp:// begins with STARTTLS");
    }
    if error.is_permanent() {
        return Error::denied(text)
            .hint("check user and password, and that the server may send from this sender to these recipients");
    }
    if error.is_client() {
        return Error::denied(text)
            .hint("smtp:// needs a server that offers STARTTLS, and a user needs one that offers authentication");
    }
    Error::unavailable(text).hint("check host and port of the address, and that this machine may reach it")
}
