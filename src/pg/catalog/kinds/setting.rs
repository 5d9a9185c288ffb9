//! What the three kinds of stored settings (`pg_db_role_setting`) have alike: the text of `SET … TO …`.

use crate::base::sql::{Sql, ident, literal};
use crate::base::{Error, Result};

/// Settings whose value is a list of identifiers, which the server stores quoted; given back as one string, `"$user", public` would be one
/// schema of that name. Extensions cannot define such settings, so the list is complete.
const QUOTED_LISTS: &[&str] = &[
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// `alter SET "name" TO value` for each element of `setconfig`, in their order.
pub(super) fn set_all(alter: &Sql, settings: &[String]) -> Result<Vec<Sql>> {
    settings.iter().map(|s| Ok(alter.clone().text(format!(" {}", set_clause(s)?)))).collect()
}

/// Names of the parameters in `setconfig`, in their order.
pub(super) fn names(settings: &[String]) -> Result<Vec<String>> {
    settings.iter().map(|s| Ok(split(s)?.0.to_owned())).collect()
}

fn split(setting: &str) -> Result<(&str, &str)> {
    let parts = setting.split_once('=');
    parts.ok_or_else(|| Error::internal("an element of pg_db_role_setting.setconfig has no equals sign"))
}

/// `SET "name" TO value` for an element `name=value` of `setconfig`.
fn set_clause(setting: &str) -> Result<String> {
    let (name, value) = split(setting)?;
    let value = if QUOTED_LISTS.contains(&name.to_ascii_lowercase().as_str()) {
        let items: Vec<String> = list_items(value).iter().map(|item| literal(item)).collect();
        if items.is_empty() { "''".to_owned() } else { items.join(", ") }
    } else {
        literal(value)
    };
    Ok(format!("SET {} TO {value}", ident(name)))
}

/// The elements of a list of identifiers: comma-separated, quoted where needed, quotes doubled inside.
fn list_items(text: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut item = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            while let Some((part, after)) = rest.split_once('"') {
                item.push_str(part);
                rest = after;
                match rest.strip_prefix('"') {
                    Some(more) => {
                        item.push('"');
                        rest = more;
                    }
                    None => break,
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            item.push_str(rest[..end].trim_end());
            rest = &rest[end..];
        }
        items.push(item);
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_their_elements_and_other_values_stay_whole() {
        let cases = [
            ("search_path=\"$user\", public, \"a\"\"b, c\"", "SET \"search_path\" TO '$user', 'public', 'a\"b, c'"),
            ("search_path=\"\"", "SET \"search_path\" TO ''"),
            ("search_path=", "SET \"search_path\" TO ''"),
            ("DateStyle=ISO, MDY", "SET \"DateStyle\" TO 'ISO, MDY'"),
            ("my.setting=a=b'c", "SET \"my.setting\" TO 'a=b''c'"),
        ];
        for (setting, expected) in cases {
            assert_eq!(set_clause(setting).expect("clause"), expected);
        }
        assert!(set_clause("nonsense").is_err());
    }
}
