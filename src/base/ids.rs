//! Typed identifiers, so that a run can never be taken for a backup, and the only source of randomness.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
        write_hex32(f, &self.0)
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

impl From<PartId> for String {
    fn from(id: PartId) -> Self {
        id.to_string()
    }
}

impl Serialize for PartId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PartId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(Hex32).map(Self)
    }
}

/// 64 lower-case hexadecimal digits as 32 bytes. A prune parses millions.
pub fn parse_hex32(text: impl AsRef<[u8]>) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_ref().try_into().ok()?;
    let value = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => 0xff,
    };
    let (mut out, mut bad) = ([0u8; 32], 0);
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (value(pair[0]), value(pair[1]));
        bad |= (high | low) & 0xf0;
        *byte = high << 4 | low & 0x0f;
    }
    (bad == 0).then_some(out)
}

/// Writes 32 bytes as 64 lower-case hexadecimal digits.
pub fn write_hex32(f: &mut fmt::Formatter<'_>, bytes: &[u8; 32]) -> fmt::Result {
    let mut text = [0u8; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        pair[1] = b"0123456789abcdef"[usize::from(byte & 0x0f)];
    }
    f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

/// Reads 32 bytes from a string of 64 lower-case hexadecimal digits, without a copy of it.
#[derive(Debug)]
pub struct Hex32;

impl serde::de::Visitor<'_> for Hex32 {
    type Value = [u8; 32];
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("64 lower-case hexadecimal digits")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        parse_hex32(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
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
        assert_eq!(serde_json::to_string(&id).expect("serialise"), format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<PartId>(&format!("\"{id}\"")).expect("parse"), id);
        let all: [u8; 32] = std::array::from_fn(|i| (i * 37) as u8);
        assert_eq!(PartId::new(all).to_string().parse::<PartId>().expect("parse"), PartId::new(all));
        let text = id.to_string();
        for bad in [
            "ab",
            &text.to_uppercase(),
            &text[1..],
            &text.replace('a', "g"),
            &text.replacen('a', "`", 1),
            &text.replacen('a', ":", 1),
        ] {
            assert!(bad.parse::<PartId>().is_err(), "{bad}");
            assert!(serde_json::from_str::<PartId>(&format!("\"{bad}\"")).is_err(), "{bad}");
        }
    }
}
