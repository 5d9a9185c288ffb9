//! What a file's values mean, and every rule that they break. One file per group of sections; all of them report into the sheet
//! and go on.

mod hooks;
mod notify;
mod source;
mod store;
mod times;
mod whole;

use std::time::Duration;

use super::file::VerifyLevel;
use super::model::{Hooks, NotifySettings, Scratch, Source, StoreSettings};
use super::parse::Sheet;
use super::problem::Severity;
use super::retention::Rules;
use super::schedule::{Cron, Schedule};
use super::secrets::Template;
use super::urls;
use crate::base::{Result, units};

pub(super) use whole::{Part, assemble};

/// The sections of one file, as far as they are valid.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    source: Option<Source>,
    store: Option<StoreSettings>,
    schedule: Option<Schedule>,
    retention: Option<Rules>,
    verify: Option<VerifyPart>,
    max_age: Option<Duration>,
    notify: Option<NotifySettings>,
    hooks: Option<Hooks>,
}

/// `[verify]` before the schedule's zone is known.
#[derive(Debug, Clone)]
struct VerifyPart {
    level: VerifyLevel,
    cron: Option<Cron>,
    zone: Option<jiff::tz::TimeZone>,
    scratch: Scratch,
}

/// Validates every section of a file.
pub(super) fn parts(sheet: &mut Sheet) -> Parts {
    stray_references(sheet);
    Parts {
        source: source::source(sheet),
        store: store::store(sheet),
        schedule: times::schedule(sheet),
        retention: times::retention(sheet),
        verify: times::verify(sheet),
        max_age: times::max_age(sheet),
        notify: notify::notify(sheet),
        hooks: hooks::hooks(sheet),
    }
}

/// Keys whose values may hold references.
const REFERENCE_KEYS: [&str; 7] =
    ["source.url", "store.url", "verify.scratch", "notify.webhook", "notify.heartbeat", "notify.email.smtp", "notify.sns.topic"];

/// `${…}` where nothing would resolve it.
fn stray_references(sheet: &mut Sheet) {
    fn visit(path: &str, value: &toml::Value, found: &mut Vec<String>) {
        match value {
            // A hook's shell resolves its own.
            toml::Value::String(text)
                if text.contains("${") && !REFERENCE_KEYS.contains(&path) && !path.starts_with("hooks.") =>
            {
                found.push(path.to_owned());
            }
            toml::Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| visit(&format!("{path}[{i}]"), v, found)),
            toml::Value::Table(table) => table.iter().for_each(|(k, v)| visit(&format!("{path}.{k}"), v, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (section, value) in &sheet.table {
        visit(section, value, &mut found);
    }
    for key in found.iter().filter(|k| *k != "description") {
        sheet.report(Severity::Error, key, "reference", "references are not resolved here").help =
            Some(format!("they are in {}", REFERENCE_KEYS.join(", ")));
    }
}

/// A value that may hold references; `whole`: see [`Template::parse`].
fn template(sheet: &mut Sheet, key: &str, text: &str, whole: bool) -> Option<Template> {
    match Template::parse(text, &sheet.path, key, whole) {
        Ok(template) => Some(template),
        Err(error) => {
            sheet.report_error(key, "reference", &error);
            None
        }
    }
}

/// Checks a literal address with `rule`, and warns of a literal password.
fn address(sheet: &mut Sheet, key: &str, template: &Template, rule: fn(&str) -> Result<()>) {
    if let Some(literal) = template.literal()
        && let Err(error) = rule(literal.expose())
    {
        sheet.report_error(key, "address", &error);
    }
    if urls::password_span(template.text().expose()).is_some() {
        sheet.report(Severity::Warning, key, "literal-secret", "holds a password in clear").help = Some(format!(
            "write a reference such as {}",
            if key == "notify.email.smtp" {
                "${SMTP_URL} or file:/run/secrets/smtp-url"
            } else {
                "${DATABASE_URL} or file:/run/secrets/database-url"
            }
        ));
    }
}

/// A duration such as `26h`.
fn duration(sheet: &mut Sheet, key: &str, text: Option<&str>) -> Option<Duration> {
    match units::parse_duration(text?) {
        Ok(duration) => Some(duration),
        Err(error) => {
            sheet.report_error(key, "duration", &error);
            None
        }
    }
}
