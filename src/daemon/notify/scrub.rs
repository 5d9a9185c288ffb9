//! Takes out of a text what a policy keeps secret, before it leaves the process or is written down.

use crate::base::secret::Secret;
use crate::policy::mask;
use crate::policy::secrets::percent_encoded;
use crate::policy::{Environment, Policy, Source};

/// Shorter values would blank out words.
const SHORTEST: usize = 4;

/// The secrets of one policy, as far as they can be resolved, and whatever AWS gave to this process, also after this was made.
#[derive(Debug, Clone, Default)]
pub(in crate::daemon) struct Scrub {
    known: Vec<Secret<String>>,
    env: Option<Environment>,
}

impl Scrub {
    pub(in crate::daemon) fn of(policy: &Policy, env: &Environment) -> Self {
        let mut scrub = Self { known: Vec::new(), env: Some(env.clone()) };
        if let Source::Postgres(source) = &policy.source
            && let Ok(url) = source.url(env)
        {
            scrub.credentials(&url);
        }
        if let Some(Ok((url, _))) = policy.notify.webhook.as_ref().map(|w| w.resolve(env)) {
            scrub.address(&url);
        }
        if let Some(Ok(url)) = policy.notify.heartbeat.as_ref().map(|h| h.url(env)) {
            scrub.address(&url);
        }
        if let Some(Ok(url)) = policy.notify.email.as_ref().map(|e| e.server(env)) {
            scrub.credentials(&url);
        }
        scrub
    }

    /// `text` without secrets; passwords in addresses that the policy does not name go too.
    pub(in crate::daemon) fn clean(&self, text: &str) -> String {
        let mut all = Self { known: self.known.clone(), env: None };
        for value in self.env.iter().flat_map(Environment::everything_fetched) {
            all.fetched(&value);
        }
        all.known.retain(|s| s.expose().len() >= SHORTEST);
        all.known.sort_by_key(|s| std::cmp::Reverse(s.expose().len()));
        let clean = all.known.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "***"));
        clean.split_inclusive(char::is_whitespace).map(mask::address).collect()
    }

    /// A value that AWS keeps secret: a password or token, or an address with one in it.
    fn fetched(&mut self, value: &Secret<String>) {
        self.known.push(value.clone());
        self.known.push(Secret::new(percent_encoded(value.expose())));
        if value.expose().contains("://") {
            self.credentials(value);
            self.address(value);
        }
    }

    /// An address that is a secret as a whole: itself, and what of it would be enough to use it.
    fn address(&mut self, url: &Secret<String>) {
        self.known.push(url.clone());
        if let Ok(parsed) = url::Url::parse(url.expose()) {
            self.known.push(Secret::new(parsed.to_string()));
            let segments = parsed.path_segments().into_iter().flatten();
            // Tokens, not words such as `services`.
            self.known.extend(
                segments.filter(|s| s.len() >= 8 && s.contains(|c: char| c.is_ascii_digit())).map(|s| Secret::new(s.to_owned())),
            );
            self.known.extend(parsed.query().map(|q| Secret::new(q.to_owned())));
        }
    }

    /// An address of which the password is the secret.
    fn credentials(&mut self, url: &Secret<String>) {
        let Ok(parsed) = url::Url::parse(url.expose()) else { return };
        self.known.extend(parsed.password().map(|p| Secret::new(p.to_owned())));
        self.known.extend(parsed.password().and_then(decoded).map(Secret::new));
        let named = |key: &str| matches!(key, "password" | "sslpassword");
        self.known.extend(parsed.query_pairs().filter(|(k, _)| named(k)).map(|(_, v)| Secret::new(v.into_owned())));
    }
}

/// Percent-decoded; `None` when that is no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = if first == b'%' { after.get(..2).and_then(|d| std::str::from_utf8(d).ok()) } else { None };
        let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::aws_refs::AwsReference;

    #[test]
    fn secrets_go_in_every_form_in_which_they_may_turn_up() {
        let mut scrub = Scrub::default();
        scrub.credentials(&Secret::new("smtp://app:p%40ss%2Fword@mail.example:587".to_owned()));
        scrub.address(&Secret::new("https://hooks.example/services/T0123456/abcdefgh1?key=zyxwvut".to_owned()));
        for text in [
            "535 p@ss/word",
            "535 p%40ss%2Fword",
            "see https://hooks.example/services/T0123456/abcdefgh1?key=zyxwvut",
            "no such token abcdefgh1",
            "GET /x?key=zyxwvut",
            "from postgres://a:b@c to postgres://d:other-secret@f",
        ] {
            let clean = scrub.clean(text);
            for secret in ["ss/word", "ss%2Fword", "abcdefgh1", "zyxwvut", "other-secret"] {
                assert!(!clean.contains(secret), "{clean}");
            }
        }
        assert_eq!(scrub.clean("nothing  secret\n here"), "nothing  secret\n here");
        let env = Environment::fixed([]);
        let scrub = Scrub { known: Vec::new(), env: Some(env.clone()) };
        let reference: AwsReference = "aws-ssm:/db/password".parse().expect("reference");
        env.keep_fetched(reference.clone(), Secret::new("old/secret".to_owned()));
        env.keep_fetched(reference, Secret::new("new/secret".to_owned()));
        assert_eq!(scrub.clean("old/secret new%2Fsecret"), "*** ***");
        assert_eq!(decoded("a%4"), Some("a%4".to_owned()));
    }
}
