//! `[hooks]`.

use std::time::Duration;

use super::super::model::{HookCommand, Hooks};
use super::super::parse::Sheet;
use super::super::problem::Severity;
use super::super::urls;
use super::duration;

/// How long a hook may take when the policy does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

pub(super) fn hooks(sheet: &mut Sheet) -> Option<Hooks> {
    let section = sheet.sections.hooks.clone()?;
    let timeout = duration(sheet, "hooks.timeout", section.timeout.as_deref()).unwrap_or(DEFAULT_TIMEOUT);
    if timeout.is_zero() {
        sheet.report(Severity::Error, "hooks.timeout", "duration", "must be longer than nothing");
    }
    let mut named = |name: &str, hook: Option<HookCommand>| command(sheet, &format!("hooks.{name}"), hook?);
    Some(Hooks {
        before: named("before", section.before),
        after: named("after", section.after),
        on_failure: named("on_failure", section.on_failure),
        finally: named("finally", section.finally),
        timeout,
    })
}

/// A command that can be run, or its problem.
pub(super) fn command(sheet: &mut Sheet, key: &str, command: HookCommand) -> Option<HookCommand> {
    let (empty, words) = match &command {
        HookCommand::Shell(text) => (text.trim().is_empty(), vec![text.clone()]),
        HookCommand::Program(words) => (words.first().is_none_or(String::is_empty), words.clone()),
    };
    if empty {
        sheet.report(Severity::Error, key, "empty", "names no command").help = Some("leave the key out for none".to_owned());
        return None;
    }
    if words.iter().any(|word| urls::password_span(word).is_some()) {
        sheet.report(Severity::Warning, key, "literal-secret", "holds a password in clear").help =
            Some("let the command read it from a file or a variable".to_owned());
    }
    Some(command)
}
