//! The webhook: pgkeep's own document, or a message as Slack takes it.

use std::time::Duration;

use serde_json::{Value, json};

use super::http::{self, Post};
use super::message::Message;
use crate::base::Result;
use crate::base::secret::Secret;
use crate::policy::model::WebhookFormat;

/// Version of the document, as in every other of `docs/JSON.md`.
const DOCUMENT: u32 = 1;

pub(super) async fn send(url: &Secret<String>, format: WebhookFormat, message: &Message, timeout: Duration) -> Result<()> {
    let body = match format {
        WebhookFormat::Json => document(message),
        WebhookFormat::Slack => slack(message),
    };
    let body = body.to_string();
    http::post(Post { url, name: "webhook", content_type: "application/json", body }, timeout).await
}

/// The document of `docs/JSON.md`, "Notifications".
pub(super) fn document(message: &Message) -> Value {
    let n = &message.notice;
    json!({
        "pgkeep": DOCUMENT,
        "notification": {
            "id": n.id,
            "event": n.event,
            "policy": message.policy,
            "description": message.description,
            "topic": n.topic,
            "open": n.open,
            "title": n.title,
            "detail": n.detail,
            "hint": n.hint,
            "at": n.at,
            "since": n.since,
            "told": n.told,
            "run": n.run,
            "backup": n.backup,
            "host": n.host,
        },
    })
}

fn slack(message: &Message) -> Value {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mark = match (message.is_test(), message.notice.open) {
        (true, _) => "\u{26aa}",
        (false, true) => "\u{1f534}",
        (false, false) => "\u{1f7e2}",
    };
    json!({ "text": format!("{mark} *{}*\n{}", escape(&message.subject()), escape(&message.body())) })
}
