//! Object keys: checked once, then trusted.

use std::fmt;
use std::str::FromStr;

use crate::base::{Error, Result};

/// A relative path of plain segments: no empty segment, no `.` or `..`, no leading or trailing slash, no control characters or backslash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |s: &str| s.is_empty() || s == "." || s == ".." || s.chars().any(|c| c.is_control() || c == '\\');
        if text.len() > 1000 || text.split('/').any(bad) {
            return Err(Error::usage(format!("'{text}' cannot be an object key")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_keys() {
        assert!("a/b-c_d.json".parse::<Key>().is_ok());
        for bad in ["", "/a", "a/", "a//b", "a/../b", ".", "a\nb", "a\\b"] {
            assert!(bad.parse::<Key>().is_err(), "{bad:?}");
        }
    }
}
