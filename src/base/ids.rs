//! Typed identifiers, so that a run can never be taken for a backup, and the only source of randomness.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// `count` random bytes as lower-case hexadecimal.
#[allow(clippy::disallowed_methods, reason = "this is the module that the ban points to")]
pub fn random_hex(count: usize) -> String {
    use std::fmt::Write as _;
    (0..count).fold(String::with_capacity(count * 2), |mut text, _| {
        let _ = write!(text, "{:02x}", rand::random::<u8>());
        text
    })
}

/// A random fraction in `0..1`, for jitter of retries.
#[allow(clippy::disallowed_methods, reason = "this is the module that the ban points to")]
pub fn random_fraction() -> f64 {
    rand::random::<f64>()
}

fn time_id(now: Timestamp) -> String {
    format!("{}-{}", now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ"), random_hex(2))
}

fn is_time_id(text: &str) -> bool {
    let b = text.as_bytes();
    b.len() == 21
        && b[8] == b'T'
        && b[15] == b'Z'
        && b[16] == b'-'
        && b[..8].iter().chain(&b[9..15]).all(u8::is_ascii_digit)
        && b[17..].iter().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(c))
}

macro_rules! time_ids {
    ($($(#[$doc:meta])* $name:ident, $what:literal);* $(;)?) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A new id for something that starts now.
            pub fn generate(now: Timestamp) -> Self { Self(time_id(now)) }
            /// Its text.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                if is_time_id(text) { Ok(Self(text.to_owned())) } else {
                    Err(Error::usage(format!(concat!("'{}' is not a ", $what, " id"), text))
                        .hint("ids look like 20261122T021500Z-7f3a; `pgkeep list POLICY` shows them"))
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> { text.parse() }
        }
        impl From<$name> for String { fn from(id: $name) -> String { id.0 } }
    )* };
}

time_ids! {
    /// Id of a backup: UTC start time and four random digits, `20261122T021500Z-7f3a`; sorts by time.
    BackupId, "backup";
    /// Id of a run, of the same form.
    RunId, "run";
}

impl From<&BackupId> for RunId {
    /// The run that makes a backup has the backup's id.
    fn from(id: &BackupId) -> Self {
        Self(id.0.clone())
    }
}

impl From<&RunId> for BackupId {
    /// The backup that a run makes has the run's id.
    fn from(id: &RunId) -> Self {
        Self(id.0.clone())
    }
}

/// SHA-256 of a part's plaintext: its name in the vault.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartId([u8; 32]);

impl PartId {
    /// From the digest.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }
    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PartId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        parse_hex32(text).map(Self).ok_or_else(|| Error::integrity(format!("'{text}' is not a part id (64 hexadecimal digits)")))
    }
}

impl TryFrom<String> for PartId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<PartId> for String {
    fn from(id: PartId) -> Self {
        id.to_string()
    }
}

/// 64 lower-case hexadecimal digits as 32 bytes.
pub fn parse_hex32(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut out = [0u8; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backup_ids_round_trip_and_sort_by_time() {
        let t: Timestamp = "2026-11-22T02:15:00Z".parse().expect("time");
        let id = BackupId::generate(t);
        assert!(id.as_str().starts_with("20261122T021500Z-"));
        assert_eq!(id.as_str().parse::<BackupId>().expect("parse"), id);
        assert!(BackupId::generate("2026-11-22T02:15:01Z".parse().expect("time")) > id);
        for bad in ["", "20261122T021500Z", "20261122T021500Z-7F3A", "../../../etc/passwd12", "20261122T021500Z-7f3a/"] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn part_ids_round_trip() {
        let id = PartId::new([0xab; 32]);
        assert_eq!(id.to_string().parse::<PartId>().expect("parse"), id);
        assert!("ab".parse::<PartId>().is_err());
    }
}
