//! What the addresses in a policy may look like. Errors never repeat the address: it may hold a password.

use super::file::WebhookFormat;
use crate::base::{Error, Result};

/// `s3://bucket/prefix` or `file:///path`.
pub(super) fn store(text: &str) -> Result<()> {
    store_scheme(text)?;
    if let Some(path) = text.strip_prefix("file://") {
        return match path {
            "" | "/" => Err(Error::usage("a store needs a folder of its own").hint("write file:///var/backups/pgkeep")),
            path if !path.starts_with('/') => {
                Err(Error::usage("the path of a file:// address must be absolute")
                    .hint("write three slashes: file:///var/backups"))
            }
            path => segments(path.trim_matches('/')),
        };
    }
    let rest = text.strip_prefix("s3://").unwrap_or(text);
    if rest.contains('@') {
        return Err(Error::usage("credentials do not belong in a store's address")
            .hint("pgkeep finds them where every AWS tool does: environment, profile or instance role"));
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let bucket_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    let edges = bucket.starts_with(|c: char| c.is_ascii_alphanumeric()) && bucket.ends_with(|c: char| c.is_ascii_alphanumeric());
    if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(bucket_char) || !edges {
        return Err(Error::usage("what follows s3:// cannot be the name of a bucket")
            .hint("a bucket's name has 3 to 63 of a-z, 0-9, '.' and '-'; write s3://bucket/prefix"));
    }
    segments(prefix.trim_end_matches('/'))
}

/// Checks as much of a store's address as its beginning tells.
pub(super) fn store_scheme(text: &str) -> Result<()> {
    if text.starts_with("s3://") || text.starts_with("file://") {
        return Ok(());
    }
    let what = match text.split_once("://") {
        Some((scheme, _)) if scheme.len() <= 16 => format!("'{scheme}://' is not a kind of store"),
        _ if text.starts_with("file:") => "a folder is written with three slashes".to_owned(),
        _ => "the address has no scheme".to_owned(),
    };
    Err(Error::usage(what).hint("write s3://bucket/prefix or file:///path"))
}

fn segments(path: &str) -> Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    if path.split('/').any(|s| s.is_empty() || s == "." || s == "..") {
        return Err(Error::usage("the path holds an empty segment, '.' or '..'").hint("write it without them"));
    }
    if path.contains(['?', '#']) || path.chars().any(char::is_control) {
        return Err(Error::usage("the path holds '?', '#' or a control character")
            .hint("options of a store are keys of [store], not part of its address"));
    }
    Ok(())
}

/// `postgres://…` or `postgresql://…`.
pub(super) fn postgres(text: &str) -> Result<()> {
    let hint = "write postgres://user@host:5432/database, or a reference to it such as ${DATABASE_URL}";
    let Some(rest) = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) else {
        return Err(Error::usage("not a postgres:// address").hint(hint));
    };
    if rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::usage("the address holds a space or control character")
            .hint("encode it: a space is %20, a line break at the end of a secret does not belong there"));
    }
    Ok(())
}

/// `https://…`; plain `http://` only to this machine.
pub(super) fn webhook(text: &str) -> Result<()> {
    let url = url::Url::parse(text).map_err(|_| Error::usage("not an address").hint("write https://host/path"))?;
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => Ok(()),
        "http" if local => Ok(()),
        "http" => Err(Error::usage("plain http:// would send what happened over the network in clear").hint("write https://")),
        _ => Err(Error::usage("not an https:// address").hint("write https://host/path")),
    }
}

/// What a webhook of this address most probably takes: Slack's own, and Discord's that imitates it.
pub(super) fn webhook_format(text: &str) -> WebhookFormat {
    let Ok(url) = url::Url::parse(text) else { return WebhookFormat::Json };
    let host = url.host_str().unwrap_or_default();
    let of = |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    let slack = of("hooks.slack.com") || of("hooks.slack-gov.com");
    let discord = (of("discord.com") || of("discordapp.com")) && url.path().ends_with("/slack");
    if slack || discord { WebhookFormat::Slack } else { WebhookFormat::Json }
}

/// `smtp://` or `smtps://` with a host, and nothing after it.
pub(super) fn smtp(text: &str) -> Result<()> {
    let hint = "write smtp://user:password@host:587 or smtps://user:password@host:465, or a reference to it such as ${SMTP_URL}; \
                special characters of the password are percent-encoded";
    let url = url::Url::parse(text).map_err(|_| Error::usage("not an address of a mail server").hint(hint))?;
    if !matches!(url.scheme(), "smtp" | "smtps") {
        return Err(Error::usage("not an smtp:// or smtps:// address").hint(hint));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Error::usage("the address names no host").hint(hint));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(Error::usage("something stands after host and port").hint(hint));
    }
    if url.username().is_empty() != url.password().is_none() {
        return Err(Error::usage("user and password belong together").hint(hint));
    }
    Ok(())
}

/// `name@domain` or `Some Name <name@domain>`.
pub(super) fn mailbox(text: &str) -> Result<()> {
    let bad = || Error::usage("not an e-mail address").hint("write backups@example.com or pgkeep <backups@example.com>");
    let address = match text.trim().strip_suffix('>') {
        None => text.trim(),
        Some(rest) => {
            let (name, address) = rest.split_once('<').ok_or_else(bad)?;
            let plain = |c: char| !c.is_control() && !"\"<>()[]:;@\\,.".contains(c);
            if !name.trim().chars().all(plain) {
                return Err(Error::usage("the name before the address holds a special character")
                    .hint("letters, digits, spaces, '-' and '_' are fine: pgkeep <backups@example.com>"));
            }
            address
        }
    };
    let (local, domain) = address.split_once('@').ok_or_else(bad)?;
    let dotted = |part: &str| !part.is_empty() && part.split('.').all(|label| !label.is_empty());
    let local_char = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let domain_char = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let hyphens = domain.split('.').any(|label| label.starts_with('-') || label.ends_with('-'));
    let good = dotted(local) && dotted(domain) && local.chars().all(local_char) && domain.chars().all(domain_char);
    if good && !hyphens && local.len() <= 64 && domain.len() <= 255 { Ok(()) } else { Err(bad()) }
}

/// `arn:aws:sns:region:account:name`.
pub(super) fn sns_topic(text: &str) -> Result<()> {
    let hint = "write arn:aws:sns:eu-west-3:123456789012:backups; the SNS console shows it";
    let fields: Vec<&str> = text.split(':').collect();
    let ["arn", partition, "sns", region, account, name] = fields.as_slice() else {
        return Err(Error::usage("not the ARN of an SNS topic").hint(hint));
    };
    let region_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name_char = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good = partition.starts_with("aws")
        && !region.is_empty()
        && region.chars().all(region_char)
        && account.len() == 12
        && account.chars().all(|c| c.is_ascii_digit())
        && (1..=256).contains(&name.len())
        && name.chars().all(name_char);
    if good { Ok(()) } else { Err(Error::usage("not the ARN of an SNS topic").hint(hint)) }
}

/// Host and port of a literal `postgres://` address, to see whether two name the same server.
pub(super) fn server(text: &str) -> Option<(String, u16)> {
    let url = url::Url::parse(text).ok()?;
    Some((url.host_str()?.to_lowercase(), url.port().unwrap_or(5432)))
}

/// Where a literal password stands in an address: the user part's, or that of a `password` parameter. `${…}` is not one.
pub(super) fn password_span(text: &str) -> Option<std::ops::Range<usize>> {
    find_password(&without_references(text))
}

/// `text` of the same length whose references hold no character that means something in an address.
fn without_references(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(end) = rest[start..].find('}').map(|i| start + i) else { break };
        out.push_str(&rest[..start + 2]);
        out.extend(std::iter::repeat_n('x', end - start - 2));
        out.push('}');
        rest = &rest[end + 1..];
    }
    out + rest
}

fn find_password(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find("://")? + 3;
    let authority_end = text[start..].find(['/', '?', '#']).map_or(text.len(), |i| start + i);
    // A password may itself hold '/' or '?': the last '@' before a space decides, as lenient parsers do.
    let user_end = text[start..authority_end].rfind('@').map(|i| start + i).or_else(|| stray_at(text, start));
    if let Some(user_end) = user_end
        && let Some(colon) = text[start..user_end].find(':').map(|i| start + i)
    {
        let span = colon + 1..user_end;
        if !span.is_empty() && !is_reference(&text[span.clone()]) {
            return Some(span);
        }
    }
    parameter_span(text)
}

/// An '@' after an unencoded '/' or '?' in what was meant as a password.
fn stray_at(text: &str, start: usize) -> Option<usize> {
    let end = text[start..].find(char::is_whitespace).map_or(text.len(), |i| start + i);
    let at = text[start..end].rfind('@').map(|i| start + i)?;
    text[start..at].contains(':').then_some(at)
}

fn parameter_span(text: &str) -> Option<std::ops::Range<usize>> {
    let query = text.find('?')? + 1;
    let mut at = query;
    for pair in text[query..].split('&') {
        if let Some((key, value)) = pair.split_once('=')
            && ["password", "sslpassword"].iter().any(|k| key.eq_ignore_ascii_case(k))
            && !value.is_empty()
            && !is_reference(value)
        {
            let from = at + key.len() + 1;
            return Some(from..from + value.len());
        }
        at += pair.len() + 1;
    }
    None
}

fn is_reference(text: &str) -> bool {
    text == "***" || text.strip_prefix("${").and_then(|t| t.strip_suffix('}')).is_some_and(|name| !name.contains(['$', '{', '}']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_told_from_typing_errors() {
        for good in ["s3://harena-backups", "s3://harena-backups/prod/", "file:///var/backups", "s3://a.b-c/x/y"] {
            assert!(store(good).is_ok(), "{good}");
        }
        for bad in [
            "s3://",
            "s3://AB/c",
            "s3://bucket//x",
            "s3://key:secret@bucket/x",
            "s3://key:secret/x",
            "s3://bucket/../x",
            "file://var/x",
            "file:///",
            "gs://b/c",
            "/var/backups",
            "file:/var/x",
            "s3://bucket/x?region=eu",
        ] {
            let error = store(bad).expect_err(bad);
            assert!(error.hint_text().is_some(), "{bad}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_a_webhook_takes_is_seen_from_its_address() {
        for (url, format) in [
            ("https://hooks.slack.com/services/T0/B0/x", WebhookFormat::Slack),
            ("https://discord.com/api/webhooks/1/x/slack", WebhookFormat::Slack),
            ("https://discord.com/api/webhooks/1/x", WebhookFormat::Json),
            ("https://hooks.slack.com.evil.example/x", WebhookFormat::Json),
            ("https://nothooks.slack.com/x", WebhookFormat::Json),
            ("https://alerts.example/hook", WebhookFormat::Json),
        ] {
            assert_eq!(webhook_format(url), format, "{url}");
        }
    }

    #[test]
    fn addresses_of_mail_and_topics_are_told_from_typing_errors() {
        for good in ["a@b.example", "pgkeep <a.b+c@b-c.example>", "root@localhost", "<a@b>"] {
            assert!(mailbox(good).is_ok(), "{good}");
        }
        for bad in ["", "ops", "ops@", "@b", "a b@c", "a@b, c@d", "x <a@b", "a@b..c", "a@-b", "x, y <a@b>", "a@b\r\nBcc: c@d"] {
            assert!(mailbox(bad).is_err(), "{bad}");
        }
        for good in ["smtp://localhost", "smtps://u:p%40q@mail.example:465", "smtp://mail.example:587/"] {
            assert!(smtp(good).is_ok(), "{good}");
        }
        for bad in
            ["mail.example", "https://mail.example", "smtp://u@mail.example", "smtp://h/x", "smtp://u:s3cret@", "smtp://h?tls=no"]
        {
            let error = smtp(bad).expect_err(bad);
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        assert!(sns_topic("arn:aws:sns:eu-west-3:123456789012:backups").is_ok());
        assert!(sns_topic("arn:aws-us-gov:sns:us-gov-west-1:123456789012:backups.fifo").is_ok());
        for bad in [
            "backups",
            "arn:aws:sqs:eu-west-3:123456789012:q",
            "arn:aws:sns:eu-west-3:12:q",
            "arn:aws:sns:eu-west-3:123456789012:",
        ] {
            assert!(sns_topic(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_found_and_references_left() {
        let found = |text: &str| password_span(text).map(|r| text[r].to_owned());
        assert_eq!(found("postgres://app:s3cret@db/harena").as_deref(), Some("s3cret"));
        assert_eq!(found("postgres://app:a:b@c@db/harena").as_deref(), Some("a:b@c"));
        assert_eq!(found("postgres://app:a/b?c@db/harena").as_deref(), Some("a/b?c"));
        assert_eq!(found("postgres://db/harena?user=app&password=s3cret&sslmode=require").as_deref(), Some("s3cret"));
        assert_eq!(found("postgres://app:${PW}@db/harena"), None);
        assert_eq!(found("postgres://app:x${PW}@db/harena").as_deref(), Some("x${PW}"));
        assert_eq!(found("postgres://app@db:5432/harena"), None);
        assert_eq!(found("postgres://${aws-ssm:/db/user}:${aws-secretsmanager:db#pw}@db/harena"), None);
        assert_eq!(found("postgres://${aws-ssm:/db/user}:s3cret@db/harena").as_deref(), Some("s3cret"));
        assert_eq!(found("s3://bucket/a:b"), None);
    }
}
