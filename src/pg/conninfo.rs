//! Connection strings as libpq reads them: URLs and `key=value` lists, completed from `PG…` variables.
//!
//! Messages name parameters, never values: a badly quoted password may have ended up in any of them.

use std::collections::BTreeMap;

use crate::base::{Error, Result};

/// Reads one environment variable.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Parameters that have a meaning here, with the variable that gives their default.
const PARAMETERS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("channel_binding", "PGCHANNELBINDING"),
    ("client_encoding", ""),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("dbname", "PGDATABASE"),
    ("fallback_application_name", ""),
    ("gssencmode", "PGGSSENCMODE"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("keepalives", ""),
    ("keepalives_count", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("options", "PGOPTIONS"),
    ("passfile", "PGPASSFILE"),
    ("password", "PGPASSWORD"),
    ("port", "PGPORT"),
    ("sslcert", "PGSSLCERT"),
    ("sslcompression", "PGSSLCOMPRESSION"),
    ("sslkey", "PGSSLKEY"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslsni", "PGSSLSNI"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("tcp_user_timeout", ""),
    ("user", "PGUSER"),
];

/// Parameters of libpq that cannot be honoured here; ignoring one could log in as somebody else or with less protection.
const REFUSED: &[&str] = &[
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "replication",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslkeylogfile",
    "sslpassword",
];

/// What a connection string says, by parameter.
#[derive(Clone, Default)]
pub(super) struct Conninfo(BTreeMap<&'static str, String>);

impl Conninfo {
    /// Reads a URL or a `key=value` list; parameters that it lacks come from the environment.
    pub(super) fn parse(text: &str, env: Env<'_>) -> Result<Self> {
        let mut info = Self::default();
        match text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
            Some(rest) => info.url(rest)?,
            None if text.contains("://") => {
                return Err(Error::usage("a connection URL must begin with postgresql:// or postgres://"));
            }
            None => info.pairs(text)?,
        }
        for (name, variable) in PARAMETERS {
            if !info.0.contains_key(name)
                && let Some(value) = (!variable.is_empty()).then(|| env(variable)).flatten().filter(|v| !v.is_empty())
            {
                info.0.insert(name, value);
            }
        }
        if info.get("gssencmode") == Some("require") {
            return Err(Error::unsupported("the connection parameter gssencmode=require is not supported"));
        }
        Ok(info)
    }

    /// The value of a parameter, if given and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    fn set(&mut self, name: &str, value: String) -> Result<()> {
        if let Some((known, _)) = PARAMETERS.iter().find(|(n, _)| *n == name) {
            self.0.insert(known, value);
            return Ok(());
        }
        if REFUSED.contains(&name) {
            return Err(Error::unsupported(format!("the connection parameter {name} is not supported")));
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') || name.len() > 40 {
            return Err(malformed());
        }
        let error = Error::usage(format!("unknown connection parameter '{name}'"));
        let nearest = PARAMETERS
            .iter()
            .map(|(n, _)| *n)
            .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        Err(match nearest.filter(|n| strsim::jaro_winkler(n, name) > 0.85) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint("remove it: it belongs to another client program"),
        })
    }

    fn url(&mut self, rest: &str) -> Result<()> {
        let slash = rest.find('/').unwrap_or(rest.len());
        let start = rest[..slash].rfind('@').map_or(0, |at| at + 1);
        let credentials = (start > 0).then(|| &rest[..start - 1]);
        let (place, query) = rest[start..].split_once('?').map_or((&rest[start..], ""), |(p, q)| (p, q));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        if let Some(credentials) = credentials {
            let (user, password) = credentials.split_once(':').map_or((credentials, None), |(u, p)| (u, Some(p)));
            self.decoded("user", user)?;
            if let Some(password) = password {
                self.decoded("password", password)?;
            }
        }
        self.hosts(hosts)?;
        self.decoded("dbname", database)?;
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(malformed)?;
            let name = decode(name)?;
            match (name.as_str(), value) {
                ("ssl", "true") => self.set("sslmode", "require".to_owned())?,
                _ => self.set(&name, decode(value)?)?,
            }
        }
        Ok(())
    }

    fn decoded(&mut self, name: &str, value: &str) -> Result<()> {
        if value.is_empty() { Ok(()) } else { self.set(name, decode(value)?) }
    }

    fn hosts(&mut self, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for one in text.split(',') {
            let (host, port) = match one.strip_prefix('[') {
                Some(v6) => {
                    let (host, rest) = v6.split_once(']').ok_or_else(malformed)?;
                    (host, rest.strip_prefix(':').unwrap_or(rest))
                }
                None => one.split_once(':').unwrap_or((one, "")),
            };
            if !port.bytes().all(|b| b.is_ascii_digit()) {
                return Err(malformed());
            }
            hosts.push(decode(host)?);
            ports.push(port.to_owned());
        }
        self.set("host", hosts.join(","))?;
        if ports.iter().any(|p| !p.is_empty()) {
            self.set("port", ports.join(","))?;
        }
        Ok(())
    }

    fn pairs(&mut self, text: &str) -> Result<()> {
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=').ok_or_else(malformed)?;
            let (value, after) = value(after.trim_start())?;
            self.set(name.trim(), value)?;
            rest = after.trim_start();
        }
        Ok(())
    }
}

fn malformed() -> Error {
    Error::usage("the connection string cannot be read").hint(
        "write postgresql://user:password@host:port/database with special characters percent-encoded (%40 for @, %2F for /), or host=… \
         user=… with values that hold spaces in single quotes",
    )
}

/// One value of a `key=value` list: quoted or up to a space, with backslash escapes.
fn value(text: &str) -> Result<(String, &str)> {
    let quoted = text.starts_with('\'');
    let mut out = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.push(chars.next().ok_or_else(malformed)?.1),
            '\'' if quoted => return Ok((out, &text[at + 1..])),
            c if c.is_whitespace() && !quoted => return Ok((out, &text[at..])),
            c => out.push(c),
        }
    }
    if quoted { Err(malformed()) } else { Ok((out, "")) }
}

fn decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok()).ok_or_else(malformed)?;
            let byte = u8::from_str_radix(hex, 16).map_err(|_| malformed())?;
            if byte == 0 {
                return Err(malformed());
            }
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Conninfo {
        Conninfo::parse(text, &|_| None).expect("parse")
    }

    #[test]
    fn urls_and_lists_say_the_same() {
        let url = parse("postgres://app%40x:p%2Fw%3F@[::1]:5433,db2/my%20db?sslmode=require&connect_timeout=3");
        let list =
            parse(r"user=app@x password='p/w?' host=::1,db2 port=5433, dbname = 'my db' sslmode=require connect_timeout=3");
        assert_eq!(url.0, list.0);
        assert_eq!(parse(r"password='it\'s \\ here'").get("password"), Some(r"it's \ here"));
        assert_eq!(parse("postgresql:///d?host=/run/pg&port=6").get("host"), Some("/run/pg"));
        assert_eq!(parse("postgresql://h?host=/run/pg").get("host"), Some("/run/pg"));
        assert_eq!(parse("postgresql://u:a?b@h").get("password"), Some("a?b"));
        assert_eq!(parse("postgresql://h/d?ssl=true").get("sslmode"), Some("require"));
    }

    #[test]
    fn the_environment_fills_gaps_only() {
        let env = |name: &str| match name {
            "PGUSER" => Some("env".to_owned()),
            "PGPORT" => Some("6000".to_owned()),
            _ => None,
        };
        let info = Conninfo::parse("postgresql://me@h/d", &env).expect("parse");
        assert_eq!((info.get("user"), info.get("port")), (Some("me"), Some("6000")));
    }

    #[test]
    fn errors_name_parameters_and_never_values() {
        let error = |text: &str| format!("{:?}", Conninfo::parse(text, &|_| None).err().expect("refused"));
        assert!(error("postgresql://h/d?sslmod=require").contains("'sslmod'"));
        assert!(error("postgresql://h/d?sslmod=require").contains("did you mean 'sslmode'"));
        assert!(error("postgresql://h/d?pgbouncer=true").contains("pgbouncer"));
        assert!(error("host=h service=x").contains("service"));
        for text in [
            "postgresql://u:se/cret@h/d",
            "postgresql://u:se%zzcret@h/d",
            "password=very secret host=h",
            "password='secret",
            "mysql://u:secret@h/d",
            "secret",
        ] {
            let message = error(text);
            assert!(!message.contains("cret"), "{text}: {message}");
        }
    }
}
