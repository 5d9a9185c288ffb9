//! A policy's text fit to be kept beside the backups.

use super::urls;

/// What stands in place of a secret.
const MASK: &str = "***";

/// Keys whose value is a secret as a whole: whoever knows the address can use it.
const SECRET_KEYS: [&str; 2] = ["notify.webhook", "notify.heartbeat"];

/// `text` with the password of an address in it masked; references such as `${NAME}` stay.
pub fn address(text: &str) -> String {
    let mut out = text.to_owned();
    // Each round masks one; a masked one is not found again.
    while let Some(span) = urls::password_span(&out) {
        out.replace_range(span, MASK);
    }
    out
}

/// A policy's table as TOML, with every literal secret masked.
pub(super) fn document(table: &toml::Table) -> String {
    let masked = value("", &toml::Value::Table(table.clone()));
    toml::to_string_pretty(&masked).unwrap_or_default()
}

fn value(path: &str, from: &toml::Value) -> toml::Value {
    match from {
        toml::Value::String(text) if SECRET_KEYS.contains(&path) && !is_reference(text) => toml::Value::String(MASK.to_owned()),
        toml::Value::String(text) => toml::Value::String(address(text)),
        toml::Value::Array(items) => toml::Value::Array(items.iter().map(|v| value(path, v)).collect()),
        toml::Value::Table(table) => toml::Value::Table(
            table
                .iter()
                .map(|(key, v)| {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    (key.clone(), value(&path, v))
                })
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Whether a value is a reference as a whole, so that it shows nothing.
fn is_reference(text: &str) -> bool {
    let variable = text.strip_prefix("${").is_some_and(|rest| rest.find('}') == Some(rest.len() - 1));
    variable || ["env:", "file:", "aws-secretsmanager:", "aws-ssm:"].iter().any(|prefix| text.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_references_stay() {
        let table: toml::Table = toml::from_str(
            r#"
            description = "see postgres://app:hunter2@db/x"
            [source]
            kind = "postgres"
            url = "postgres://app:hunter2@db/harena?password=hunter3&sslpassword=hunter4"
            [store]
            url = "s3://${BUCKET}/prod"
            [verify]
            scratch = "postgres://app:${PW}@db2/x"
            [notify]
            webhook = "https://hooks.example/hunter5"
            heartbeat = "https://hc.example/ping/hunter6"
            [notify.email]
            smtp = "smtps://AKIA:hunter7@smtp.example:465"
            from = "backups@example.com"
            to = ["ops@example.com"]
            "#,
        )
        .expect("toml");
        let text = document(&table);
        assert!(!text.contains("hunter"), "{text}");
        for kept in [
            "postgres://app:***@db/harena?password=***&sslpassword=***",
            "s3://${BUCKET}/prod",
            "postgres://app:${PW}@db2/x",
            "smtps://AKIA:***@smtp.example:465",
            "ops@example.com",
        ] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
        assert!(toml::from_str::<toml::Table>(&text).is_ok());
    }
}
