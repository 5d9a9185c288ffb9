//! References to secrets, resolved only when a run needs the value.
//!
//! A value may hold `${NAME}` anywhere (`$${` is a literal `${`), or be a reference as a whole: `env:NAME`, `file:/path`,
//! `aws-secretsmanager:NAME#key`, `aws-ssm:/path`; the last two may also stand in `${…}`. The resolved value is a [`Secret`]; it is
//! never stored, logged or put into an error.
//!
//! Nothing here talks to AWS: who needs a value first fetches what [`Template::aws_references`] names (`jobs::references`) into the
//! [`Environment`], anew for each run, so that a rotated secret is seen.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::aws_refs::{AwsReference, PREFIXES};
pub use super::environment::Environment;
use crate::base::secret::Secret;
use crate::base::{Error, Result};

/// A value of a policy that may hold references.
#[derive(Debug, Clone)]
pub struct Template {
    text: Secret<String>,
    pieces: Vec<Piece>,
    file: PathBuf,
    key: String,
}

/// A value that a command line names: itself, or a reference as in a policy. Errors never show it.
pub fn of_command_line(text: &str) -> Result<Template> {
    Template::parse(text, Path::new("command line"), "value", true)
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text as it stands; may be a password that somebody wrote into the file.
    Literal(Secret<String>),
    /// The value of a variable.
    Variable(String),
    /// The contents of a file.
    File(PathBuf),
    /// A secret that AWS keeps.
    Aws(AwsReference),
}

impl Template {
    /// Parses `text`, the value of `key` in `file`. `whole`: whether `env:`, `file:` and the like at its beginning make it a
    /// reference; a store's URL may itself begin with `file:`.
    pub(super) fn parse(text: &str, file: &Path, key: &str, whole: bool) -> Result<Self> {
        let pieces = if whole { whole_reference(text).transpose() } else { None }.unwrap_or_else(|| pieces(text))?;
        Ok(Self { text: Secret::new(text.to_owned()), pieces, file: file.to_owned(), key: key.to_owned() })
    }

    /// The value, if it holds no reference.
    pub fn literal(&self) -> Option<Secret<String>> {
        self.pieces
            .iter()
            .map(|p| if let Piece::Literal(text) = p { Some(text.expose().as_str()) } else { None })
            .collect::<Option<String>>()
            .map(Secret::new)
    }

    /// The text as written, which may hold a literal password.
    pub(super) fn text(&self) -> &Secret<String> {
        &self.text
    }

    /// The value with every reference resolved.
    pub fn resolve(&self, env: &Environment) -> Result<Secret<String>> {
        let mut value = String::new();
        for (i, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Literal(text) => value.push_str(text.expose()),
                Piece::Variable(name) => value.push_str(self.variable(name, env)?.expose()),
                Piece::File(path) => value.push_str(self.read(path)?.expose()),
                Piece::Aws(reference) => {
                    let fetched = env
                        .fetched(reference)
                        .ok_or_else(|| Error::internal(format!("{}: {reference} was not fetched", self.place())))?;
                    // Passwords of generated secrets hold characters that would end the user part of an address.
                    let encode = is_password(&value, self.pieces.get(i + 1));
                    value.push_str(&if encode { percent_encoded(fetched.expose()) } else { fetched.expose().clone() });
                }
            }
        }
        Ok(Secret::new(value))
    }

    /// The secrets of AWS that must be fetched before it can be resolved.
    pub fn aws_references(&self) -> impl Iterator<Item = &AwsReference> {
        self.pieces.iter().filter_map(|p| if let Piece::Aws(reference) = p { Some(reference) } else { None })
    }

    /// File and key, for errors.
    pub fn place(&self) -> String {
        format!("{}: {}", self.file.display(), self.key)
    }

    /// Variables and files that must be there at run time, for `doctor`.
    pub fn needs(&self) -> Vec<String> {
        self.pieces
            .iter()
            .filter_map(|p| match p {
                Piece::Variable(name) => Some(format!("environment variable {name}")),
                Piece::File(path) => Some(format!("file {}", path.display())),
                Piece::Aws(reference) => Some(reference.to_string()),
                Piece::Literal(_) => None,
            })
            .collect()
    }

    /// An error of kind policy about this value.
    pub(super) fn error(&self, what: &str) -> Error {
        Error::policy(format!("{}: {what}", self.place()))
    }

    /// What is wrong with the resolved value, at this place.
    pub(super) fn flaw(&self, flaw: &Error) -> Error {
        self.error(flaw.message()).hint(flaw.hint_text().unwrap_or("correct the value"))
    }

    fn variable(&self, name: &str, env: &Environment) -> Result<Secret<String>> {
        match env.var(name) {
            Some(value) if !value.expose().is_empty() => Ok(value),
            Some(_) => Err(self.error(&format!("environment variable {name} is empty")).hint(format!("give {name} a value"))),
            None => Err(self
                .error(&format!("environment variable {name} is not set"))
                .hint(format!("set {name} where pgkeep runs; cron and systemd do not read a shell's profile"))),
        }
    }

    fn read(&self, path: &Path) -> Result<Secret<String>> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            self.error(&format!("cannot read {}", path.display()))
                .source(e)
                .hint("the file must be readable by the user that runs pgkeep")
        })?;
        if let Some(advice) = loose_permissions(path) {
            tracing::warn!(key = self.key, "{advice}");
        }
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(self.error(&format!("{} is empty", path.display())));
        }
        Ok(Secret::new(text.to_owned()))
    }
}

/// A sentence of advice when others than the file's owner can read it.
pub fn loose_permissions(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        format!("{} holds a secret and other users may open it (mode {mode:03o}); `chmod 600` keeps them out", path.display())
    })
}

fn whole_reference(text: &str) -> Result<Option<Vec<Piece>>> {
    let piece = if let Some(name) = text.strip_prefix("env:") {
        check_name(name)?;
        Piece::Variable(name.to_owned())
    } else if let Some(path) = text.strip_prefix("file:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') {
            return Err(Error::usage("the path after 'file:' must be absolute").hint("write file:/run/secrets/name"));
        }
        Piece::File(PathBuf::from(path))
    } else if PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
        Piece::Aws(text.parse()?)
    } else {
        return Ok(None);
    };
    Ok(Some(vec![piece]))
}

fn pieces(text: &str) -> Result<Vec<Piece>> {
    let mut out = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(kept) = before.strip_suffix('$') {
            literal.push_str(kept);
            literal.push_str("${");
            rest = &from[2..];
            continue;
        }
        literal.push_str(before);
        let end = from
            .find('}')
            .ok_or_else(|| Error::usage("'${' is not closed by '}'").hint("write ${NAME}, or $${ for the two characters"))?;
        let name = &from[2..end];
        let piece = if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            Piece::Aws(name.parse()?)
        } else {
            check_name(name)?;
            Piece::Variable(name.to_owned())
        };
        if !literal.is_empty() {
            out.push(Piece::Literal(Secret::new(std::mem::take(&mut literal))));
        }
        out.push(piece);
        rest = &from[end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() || out.is_empty() {
        out.push(Piece::Literal(Secret::new(literal)));
    }
    Ok(out)
}

/// Whether what comes after `before` is user or password of an address.
fn is_password(before: &str, next: Option<&Piece>) -> bool {
    let ends = |text: &str| text.starts_with('@') || text.starts_with(':');
    let in_user_part = before.contains("://")
        && (before.ends_with("//") || before.ends_with(':'))
        && matches!(next, Some(Piece::Literal(text)) if ends(text.expose()));
    let in_parameter = before.contains("://") && before.contains('?') && before.ends_with('=');
    in_user_part || in_parameter
}

/// Everything but RFC 3986's unreserved characters, encoded.
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty() && name.chars().all(good) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        Ok(())
    } else {
        // What stands there may be a secret that lost its way: it is not repeated.
        Err(Error::usage("a reference must name an environment variable: letters, digits and '_', not beginning with a digit")
            .hint("write ${NAME}, or $${ for the two characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, whole: bool) -> Result<String> {
        let env = Environment::fixed([("USER", "app"), ("PW", "p$w{}"), ("EMPTY", "")]);
        let template = Template::parse(text, Path::new("policies/x.toml"), "source.url", whole)?;
        template.resolve(&env).map(|s| s.expose().clone())
    }

    #[test]
    fn references_are_resolved_where_they_stand() {
        for (text, value) in [
            ("postgres://${USER}:${PW}@db/x", "postgres://app:p$w{}@db/x"),
            ("${PW}", "p$w{}"),
            ("env:PW", "p$w{}"),
            ("$${PW} $5 $", "${PW} $5 $"),
            ("$$${PW}", "$${PW}"),
            ("", ""),
        ] {
            assert_eq!(resolve(text, true).expect(text), value, "{text}");
        }
        assert_eq!(resolve("file:///var/backups", false).expect("a store's address"), "file:///var/backups");
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_there_is_not() {
        for (text, said) in
            [("${NOPE}", "NOPE is not set"), ("env:EMPTY", "EMPTY is empty"), ("file:/nonexistent/secret", "/nonexistent/secret")]
        {
            let error = resolve(text, true).expect_err(text);
            assert_eq!(error.kind().exit_code(), 3);
            for part in [said, "policies/x.toml", "source.url"] {
                assert!(error.to_string().contains(part), "{error}");
            }
        }
        for text in ["${", "${}", "${hunter2!}", "${1A}", "env:hunter 2", "file:relative"] {
            let error = resolve(text, true).expect_err(text);
            assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
        }
        assert!(resolve("aws-ssm:/prod/db", true).expect_err("not fetched").to_string().contains("aws-ssm:/prod/db"));
        let template = Template::parse("hunter2 ${PW}", Path::new("x.toml"), "k", true).expect("parse");
        assert!(!format!("{template:?}").contains("hunter2"));
        assert_eq!(template.needs(), ["environment variable PW"]);
    }

    #[test]
    fn what_aws_keeps_stands_where_its_reference_stood_and_is_encoded_in_addresses() {
        let env = Environment::fixed([("HOST", "db")]);
        let text = "postgres://${aws-ssm:/user}:${aws-secretsmanager:db#pw}@${HOST}/x?sslpassword=${aws-ssm:/user}";
        let template = Template::parse(text, Path::new("x.toml"), "source.url", true).expect("parse");
        for reference in template.aws_references() {
            env.keep_fetched(reference.clone(), Secret::new(format!("{}:/?#@é", &reference.name[..2])));
        }
        let value = template.resolve(&env).expect("resolve");
        assert_eq!(
            value.expose(),
            "postgres://%2Fu%3A%2F%3F%23%40%C3%A9:db%3A%2F%3F%23%40%C3%A9@db/x?sslpassword=%2Fu%3A%2F%3F%23%40%C3%A9"
        );
        let whole = Template::parse("aws-ssm:/user", Path::new("x.toml"), "source.url", true).expect("parse");
        assert_eq!(whole.resolve(&env).expect("resolve").expose(), "/u:/?#@é");
    }

    #[test]
    fn files_are_read_without_their_last_line_break() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("url");
        std::fs::write(&path, "s3cret\n\r\n").expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("chmod");
        assert_eq!(resolve(&format!("file:{}", path.display()), true).expect("read"), "s3cret\n");
        assert!(loose_permissions(&path).expect("advice").contains("640"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).expect("chmod");
        assert_eq!(loose_permissions(&path), None);
    }
}
