//! What a plan says of objects that come back otherwise than they were, or only with the help of somebody.

use std::collections::BTreeSet;

use crate::base::Result;
use crate::base::sql::{Sql, ident};
use crate::pg::catalog::entry::Entry;
use crate::pg::session::Session;

/// One sentence for each subscription, and for each provider of security labels that the server does not have.
pub(super) async fn notes(session: &Session, chosen: &[&Entry], cluster: &[&Entry]) -> Result<Vec<String>> {
    let mut notes: Vec<String> = chosen.iter().filter(|e| e.kind == "subscription").map(|e| subscription(e)).collect();
    let all = || chosen.iter().chain(cluster).copied();
    for provider in all().flat_map(|e| &e.labels).filter_map(provider).collect::<BTreeSet<String>>() {
        if !session.has_label_provider(&provider).await? {
            let count =
                all().filter(|e| e.labels.iter().any(|l| self::provider(l).as_deref() == Some(provider.as_str()))).count();
            notes.push(format!(
                "security labels of provider {provider} on {count} objects cannot be set, because the target's server has not loaded it; \
                 each will be named"
            ));
        }
    }
    Ok(notes)
}

fn subscription(entry: &Entry) -> String {
    let name = ident(&entry.name);
    let connection = if entry.create.iter().any(|s| s.plain().contains(" CONNECTION '' ")) {
        format!("ALTER SUBSCRIPTION {name} CONNECTION '…' first (the backup does not hold it), then ")
    } else {
        String::new()
    };
    format!(
        "subscription {name} comes back disabled, and nothing is asked of its publisher: its slot may be gone, or in use by the source. \
         To go on: {connection}ALTER SUBSCRIPTION {name} ENABLE, then REFRESH PUBLICATION, either into emptied tables, \
         which copies them anew, or WITH (copy_data = false), which keeps the restored rows and may miss changes since the backup"
    )
}

/// The provider that a SECURITY LABEL statement names.
fn provider(label: &Sql) -> Option<String> {
    let text = label.plain();
    let quoted = text.strip_prefix("SECURITY LABEL FOR \"")?;
    let mut name = String::new();
    let mut letters = quoted.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '"' && letters.next_if_eq(&'"').is_none() {
            return Some(name);
        }
        name.push(letter);
    }
    None
}

impl Session {
    /// Whether a module that provides labels is loaded. The server looks for it before it looks for the object, which does not exist.
    async fn has_label_provider(&self, provider: &str) -> Result<bool> {
        let text = format!("SECURITY LABEL FOR {} ON SCHEMA \"pgkeep: no such schema\" IS NULL", ident(provider));
        let Err(error) = self.client().batch_execute(&text).await else { return Ok(true) };
        match crate::pg::error::sqlstate(&error).as_deref() {
            Some("22023") => Ok(false),
            Some(_) => Ok(true),
            None => Err(crate::pg::error::statement("look for a provider of security labels", &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_of_a_label_is_read_from_its_statement() {
        let label = |provider: &str| Sql::from(format!("SECURITY LABEL FOR {} ON TABLE \"s\".\"t\" IS 'x'", ident(provider)));
        for name in ["dummy", "odd \" name", "\"", "x\" ON TABLE y"] {
            assert_eq!(provider(&label(name)).as_deref(), Some(name));
        }
        assert_eq!(provider(&Sql::from("COMMENT ON TABLE t IS 'x'")), None);
    }
}
