//! `[notify]`.

use super::super::file::{EmailSection, NotifyEvent, NotifySection, SnsSection, WebhookFormat};
use super::super::model::{Email, Heartbeat, NotifySettings, Sns, Webhook};
use super::super::parse::Sheet;
use super::super::problem::Severity;
use super::super::secrets::Template;
use super::super::urls;
use super::{address, template};

pub(super) fn notify(sheet: &mut Sheet) -> Option<NotifySettings> {
    let section = sheet.sections.notify.clone()?;
    let settings = NotifySettings {
        on: events(sheet, section.on.as_deref()),
        webhook: webhook(sheet, &section),
        email: section.email.as_ref().and_then(|s| email(sheet, s)),
        sns: section.sns.as_ref().and_then(|s| sns(sheet, s)),
        heartbeat: secret_url(sheet, "notify.heartbeat", section.heartbeat.as_deref()).map(|url| Heartbeat { url }),
    };
    let unread = sheet.problems.iter().any(|p| p.severity == Severity::Error && p.key.starts_with("notify"));
    if settings.channels().is_empty() && settings.heartbeat.is_none() && !unread {
        sheet.report(Severity::Warning, "notify", "no-channel", "names nobody who hears about it").help =
            Some("add webhook, heartbeat, [notify.email] or [notify.sns]".to_owned());
    }
    if settings.channels().is_empty() && section.on.is_some() && settings.heartbeat.is_some() {
        sheet.report(Severity::Warning, "notify.on", "needs-key", "means nothing to a heartbeat").help =
            Some("events need webhook, [notify.email] or [notify.sns]".to_owned());
    }
    Some(settings)
}

fn events(sheet: &mut Sheet, on: Option<&[NotifyEvent]>) -> Vec<NotifyEvent> {
    let Some(on) = on else { return NotifyEvent::ALL.to_vec() };
    if on.is_empty() {
        sheet.report(Severity::Warning, "notify.on", "empty-list", "names no event: nothing is sent").help =
            Some("leave the key out for all events".to_owned());
    }
    for (i, event) in on.iter().enumerate().filter(|(i, event)| on[..*i].contains(event)) {
        sheet.report(Severity::Error, &format!("notify.on[{i}]"), "repeated-value", format!("'{}' stands twice", event.as_str()));
    }
    on.to_vec()
}

fn webhook(sheet: &mut Sheet, section: &NotifySection) -> Option<Webhook> {
    if section.webhook.is_none() && section.format.is_some() {
        sheet.report(Severity::Error, "notify.format", "needs-key", "means something only with webhook");
    }
    let url = secret_url(sheet, "notify.webhook", section.webhook.as_deref())?;
    let slack = |t: &Template| t.literal().is_some_and(|u| urls::webhook_format(u.expose()) == WebhookFormat::Slack);
    if section.format == Some(WebhookFormat::Json) && slack(&url) {
        sheet.report(Severity::Warning, "notify.format", "format", "this address takes messages as Slack does, not 'json'");
    }
    Some(Webhook::new(url, section.format))
}

/// An `https://` address that is a secret as a whole.
fn secret_url(sheet: &mut Sheet, key: &str, text: Option<&str>) -> Option<Template> {
    let url = template(sheet, key, text?, true)?;
    if let Some(literal) = url.literal() {
        if let Err(error) = urls::webhook(literal.expose()) {
            sheet.report_error(key, "address", &error);
        }
        let name = if key.ends_with("heartbeat") { "${HEARTBEAT_URL}" } else { "${SLACK_WEBHOOK}" };
        sheet.report(Severity::Warning, key, "literal-secret", "whoever knows this address can post to it").help =
            Some(format!("write a reference such as {name}"));
    }
    Some(url)
}

fn email(sheet: &mut Sheet, section: &EmailSection) -> Option<Email> {
    let smtp = section.smtp.as_deref().and_then(|text| template(sheet, "notify.email.smtp", text, true));
    if let Some(smtp) = &smtp {
        address(sheet, "notify.email.smtp", smtp, urls::smtp);
    }
    if let Some(from) = &section.from
        && let Err(error) = urls::mailbox(from)
    {
        sheet.report_error("notify.email.from", "address", &error);
    }
    let to = section.to.clone().unwrap_or_default();
    if section.to.is_some() && to.is_empty() {
        sheet.report(Severity::Error, "notify.email.to", "empty-list", "names no recipient");
    }
    for (i, recipient) in to.iter().enumerate() {
        if let Err(error) = urls::mailbox(recipient) {
            sheet.report_error(&format!("notify.email.to[{i}]"), "address", &error);
        }
    }
    Some(Email { smtp: smtp?, from: section.from.clone()?, to: section.to.clone()? })
}

fn sns(sheet: &mut Sheet, section: &SnsSection) -> Option<Sns> {
    let topic = template(sheet, "notify.sns.topic", section.topic.as_deref()?, true)?;
    if let Some(literal) = topic.literal()
        && let Err(error) = urls::sns_topic(literal.expose())
    {
        sheet.report_error("notify.sns.topic", "address", &error);
    }
    Some(Sns { topic })
}
