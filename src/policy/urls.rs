//! What the addresses in a policy may look like. Errors never repeat the address: it may hold a password.

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

/// Host and port of a literal `postgres://` address, to see whether two name the same server.
pub(super) fn server(text: &str) -> Option<(String, u16)> {
    let url = url::Url::parse(text).ok()?;
    Some((url.host_str()?.to_lowercase(), url.port().unwrap_or(5432)))
}

/// Where a literal password stands in an address: the user part's, or that of a `password` parameter. `${…}` is not one.
pub(super) fn password_span(text: &str) -> Option<std::ops::Range<usize>> {
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
    fn passwords_are_found_and_references_left() {
        let found = |text: &str| password_span(text).map(|r| text[r].to_owned());
        assert_eq!(found("postgres://app:s3cret@db/harena").as_deref(), Some("s3cret"));
        assert_eq!(found("postgres://app:a:b@c@db/harena").as_deref(), Some("a:b@c"));
        assert_eq!(found("postgres://app:a/b?c@db/harena").as_deref(), Some("a/b?c"));
        assert_eq!(found("postgres://db/harena?user=app&password=s3cret&sslmode=require").as_deref(), Some("s3cret"));
        assert_eq!(found("postgres://app:${PW}@db/harena"), None);
        assert_eq!(found("postgres://app:x${PW}@db/harena").as_deref(), Some("x${PW}"));
        assert_eq!(found("postgres://app@db:5432/harena"), None);
        assert_eq!(found("s3://bucket/a:b"), None);
    }
}
