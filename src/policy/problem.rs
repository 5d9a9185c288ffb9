//! What is wrong with policy files, as values: `policy check` prints them all, the loader refuses with them.

use std::fmt;

use serde::Serialize;

use crate::base::Error;

/// Whether a problem stops the policy from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// The policy works, but probably not as meant.
    Warning,
}

/// One problem and where it is. Ordered by file, line and column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Dotted path of the key, such as `source.jobs` or `schedule.blackout[1].from`; empty for the file as a whole.
    pub key: String,
    /// Whether it stops the policy from being used.
    pub severity: Severity,
    /// Stable name of the broken rule, such as `unknown-key`.
    pub rule: &'static str,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The nearest known key or value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// All allowed keys or values, where they can be listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
}

impl fmt::Display for Problem {
    /// `policies/harena-db.toml:12:1: source.jbos: unknown key; did you mean 'jobs'? [unknown-key]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean '{nearest}'?")?;
        } else if !self.allowed.is_empty() {
            write!(f, "; allowed: {}", self.allowed.join(", "))?;
        }
        if let Some(help) = &self.help {
            write!(f, "{} {help}", if self.nearest.is_some() { "" } else { ";" })?;
        }
        write!(f, " [{}]", self.rule)
    }
}

/// Whether any of them stops a policy from being used.
pub fn any_error(problems: &[Problem]) -> bool {
    problems.iter().any(|p| p.severity == Severity::Error)
}

/// The problems that stop a policy, as one error of kind policy; `None` when there are only warnings.
pub fn as_error(problems: &[Problem]) -> Option<Error> {
    let lines: Vec<String> = problems.iter().filter(|p| p.severity == Severity::Error).map(ToString::to_string).collect();
    match lines.as_slice() {
        [] => None,
        [one] => Some(Error::policy(one)),
        many => Some(Error::policy(format!("{} problems:\n  {}", many.len(), many.join("\n  ")))),
    }
    .map(|e| e.hint("`pgkeep policy check` lists every problem of every file; `pgkeep policy schema` describes all keys"))
}
