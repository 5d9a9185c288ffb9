//! The channels of a policy that carry events.

use std::time::Duration;

use super::message::Message;
use super::{email, heartbeat, sns, webhook};
use crate::base::secret::Secret;
use crate::base::{Error, Result};
use crate::jobs::references;
use crate::policy::model::WebhookFormat;
use crate::policy::{Environment, Policy};

/// A channel with its references resolved.
#[derive(Debug)]
pub(super) enum Channel {
    Webhook { url: Secret<String>, format: WebhookFormat },
    Email { server: Secret<String>, from: String, to: Vec<String> },
    Sns { topic: String },
    Heartbeat { url: Secret<String> },
}

impl Channel {
    /// The channel `name` of a policy; fails when it has none of this name or a reference cannot be resolved.
    pub(super) async fn of(policy: &Policy, name: &str, env: &Environment) -> Result<Self> {
        let settings = &policy.notify;
        let gone = || Error::not_found(format!("policy {} has no {name} any more", policy.name));
        match name {
            "webhook" => {
                let webhook = settings.webhook.as_ref().ok_or_else(gone)?;
                references::fetch(webhook.template(), env).await?;
                let (url, format) = webhook.resolve(env)?;
                Ok(Self::Webhook { url, format })
            }
            "email" => {
                let email = settings.email.as_ref().ok_or_else(gone)?;
                references::fetch(&email.smtp, env).await?;
                Ok(Self::Email { server: email.server(env)?, from: email.from.clone(), to: email.to.clone() })
            }
            "sns" => {
                let sns = settings.sns.as_ref().ok_or_else(gone)?;
                references::fetch(&sns.topic, env).await?;
                Ok(Self::Sns { topic: sns.topic(env)? })
            }
            "heartbeat" => {
                let heartbeat = settings.heartbeat.as_ref().ok_or_else(gone)?;
                references::fetch(&heartbeat.url, env).await?;
                Ok(Self::Heartbeat { url: heartbeat.url(env)? })
            }
            _ => Err(gone()),
        }
    }

    /// Where it leads, without secrets.
    pub(super) fn describe(&self) -> String {
        let host = |url: &Secret<String>| {
            url::Url::parse(url.expose()).ok().and_then(|u| u.host_str().map(str::to_owned)).unwrap_or_default()
        };
        match self {
            Self::Webhook { url, format: WebhookFormat::Json } => format!("JSON to {}", host(url)),
            Self::Webhook { url, format: WebhookFormat::Slack } => format!("Slack message to {}", host(url)),
            Self::Email { server, from, to } => format!("from {from} to {} by {}", to.join(", "), host(server)),
            Self::Sns { topic } => topic.clone(),
            Self::Heartbeat { url } => host(url),
        }
    }

    /// Sends; returns once the other side has taken the message, or fails within `timeout`.
    pub(super) async fn send(&self, message: &Message, timeout: Duration) -> Result<()> {
        let work = async {
            match self {
                Self::Webhook { url, format } => webhook::send(url, *format, message, timeout).await,
                Self::Email { server, from, to } => email::send(server, from, to, message, timeout).await,
                Self::Sns { topic } => sns::send(topic, message, timeout).await,
                Self::Heartbeat { url } => heartbeat::send(url, message, timeout).await,
            }
        };
        // Each has timeouts of its own, but a conversation of many small steps may still take long.
        tokio::time::timeout(timeout + timeout / 4, work)
            .await
            .unwrap_or_else(|_| Err(Error::unavailable(format!("no answer within {} s", timeout.as_secs_f64()))))
    }
}
