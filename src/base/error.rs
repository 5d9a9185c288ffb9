//! The one error type, and the one table from its kind to exit code and retry.
//!
//! Rules: an error is returned or handled, never both logged and returned. A message says what failed and where; the
//! hint says what to do. Context is added as "verb object" (`read head of backup …`). Nothing secret enters either.

use std::error::Error as StdError;
use std::fmt;

/// What the person or script at the other end must do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A bug in pgkeep or an answer that should be impossible.
    Internal,
    /// The command line is wrong.
    Usage,
    /// A policy file is wrong.
    Policy,
    /// A server or store did not answer, or not now; trying again may help.
    Unavailable,
    /// A server or store refused us: wrong password, missing privilege, missing bucket, full disk. Trying again does
    /// not help until somebody changes something.
    Denied,
    /// Somebody else holds the lease, the target is not empty, or a plan changed under us.
    Conflict,
    /// Damage, a failed verification, or an anomalous backup.
    Integrity,
    /// No backup, policy or object matches.
    NotFound,
    /// This version, object or option is not supported.
    Unsupported,
    /// A gate or health condition is not met.
    Gate,
    /// Interrupted by a signal.
    Cancelled,
}

impl Kind {
    /// Process exit code: the stable contract of `docs/JSON.md`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Policy => 3,
            Self::Unavailable | Self::Denied => 4,
            Self::Conflict => 5,
            Self::Integrity => 6,
            Self::NotFound => 7,
            Self::Unsupported => 8,
            Self::Gate => 9,
            Self::Cancelled => 130,
        }
    }

    /// Name used in JSON documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Usage => "usage",
            Self::Policy => "policy",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::Integrity => "integrity",
            Self::NotFound => "not_found",
            Self::Unsupported => "unsupported",
            Self::Gate => "gate",
            Self::Cancelled => "cancelled",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        const ALL: [Kind; 11] = [
            Kind::Internal,
            Kind::Usage,
            Kind::Policy,
            Kind::Unavailable,
            Kind::Denied,
            Kind::Conflict,
            Kind::Integrity,
            Kind::NotFound,
            Kind::Unsupported,
            Kind::Gate,
            Kind::Cancelled,
        ];
        ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether the same request may succeed when it is simply sent again.
    pub const fn retryable(self) -> bool {
        matches!(self, Self::Unavailable)
    }
}

/// An error with its kind, a sentence, an optional hint and the chain of causes.
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    over_quota: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with a sentence that names what and where.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, over_quota: false, source: None }
    }

    /// Adds what the reader can do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts "verb object" in front: the outer sentence keeps kind and hint of the inner one.
    pub fn context(self, what: impl Into<String>) -> Self {
        Self { message: format!("{}: {}", what.into(), self.message), ..self }
    }

    /// Marks that there is no room for more: deleting what nobody needs any longer would help.
    pub const fn over_quota(mut self) -> Self {
        self.over_quota = true;
        self
    }

    /// Whether there was no room for more.
    pub const fn is_over_quota(&self) -> bool {
        self.over_quota
    }

    /// The kind.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence without causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, if known.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The sentence and its causes, joined by `: `, each once.
    pub fn full_message(&self) -> String {
        let mut text = self.message.clone();
        let mut next: Option<&dyn StdError> = self.source.as_deref().map(|e| e as &dyn StdError);
        while let Some(error) = next {
            let part = error.to_string();
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            next = error.source();
        }
        text
    }
}

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $(
                #[doc = concat!("An error of kind [`Kind::", stringify!($kind), "`].")]
                pub fn $name(message: impl Into<String>) -> Self {
                    Self::new(Kind::$kind, message)
                }
            )*
        }
    };
}

constructors! {
    internal => Internal, usage => Usage, policy => Policy, unavailable => Unavailable, denied => Denied,
    conflict => Conflict, integrity => Integrity, not_found => NotFound, unsupported => Unsupported, gate => Gate,
    cancelled => Cancelled,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full_message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.full_message())?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

/// Context for any result of ours.
pub trait ResultExt<T> {
    /// See [`Error::context`].
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| e.context(what()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_each_cause_once_and_keeps_kind_and_hint() {
        let io = std::io::Error::other("disk gone");
        let e = Error::unavailable("write part: disk gone").source(io).hint("mount it").context("back up harena");
        assert_eq!(e.full_message(), "back up harena: write part: disk gone");
        assert_eq!(e.kind().exit_code(), 4);
        assert_eq!(e.hint_text(), Some("mount it"));
    }
}
