//! The format's version, and every key of a vault.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::base::ids::{BackupId, Hex32, PartId, RunId, parse_hex32, write_hex32};
use crate::base::{Error, Result};
use crate::store::Key;

/// Version of the format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// Verdicts in keys of proofs.
const PASSED: &str = "passed";
const FAILED: &str = "failed";

/// Refuses a format newer than ours; `what` is the document that says so.
pub fn check_format(found: u32, what: &str) -> Result<()> {
    if found <= FORMAT {
        return Ok(());
    }
    Err(Error::unsupported(format!("{what} has format {found}; this pgkeep reads formats up to {FORMAT}"))
        .hint("use the pgkeep version that wrote it, or a newer one"))
}

/// SHA-256 of an object as it is stored; hexadecimal in documents.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum(pub [u8; 32]);

impl Checksum {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex32(f, &self.0)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Checksum {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        parse_hex32(text).map(Self).ok_or_else(|| Error::integrity(format!("'{text}' is not a SHA-256 (64 hexadecimal digits)")))
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(Hex32).map(Self)
    }
}

/// A time as it stands in a key: `20261122T021500.123456Z`.
pub fn time_in_key(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S.%6fZ").to_string()
}

fn parse_time_in_key(text: &str) -> Option<Timestamp> {
    jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S.%fZ", text).ok()?.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp())
}

/// What the key of a proof says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofKey {
    /// The backup.
    pub backup: BackupId,
    /// When the verification ended.
    pub at: Timestamp,
    /// Name of its level.
    pub level: String,
    /// Whether the backup passed; absent in keys of the first versions, whose documents alone say it.
    pub passed: Option<bool>,
}

/// Makes the keys of one policy's vault, and reads ids back out of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    policy: String,
}

impl Layout {
    /// For the vault of `policy`, whose name must be one plain path segment of at most 100 bytes.
    pub fn new(policy: &str) -> Result<Self> {
        if policy.len() > 100 || policy.contains('/') || policy.parse::<Key>().is_err() {
            return Err(Error::usage(format!("'{policy}' cannot be the name of a vault"))
                .hint("a policy's name is one path segment of at most 100 characters, without slashes"));
        }
        Ok(Self { policy: policy.to_owned() })
    }

    /// The policy.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Prefix of everything under `folder`, with its slash.
    fn prefix(&self, folder: &str) -> String {
        format!("{}/{folder}/", self.policy)
    }

    fn key(&self, rest: &str) -> Key {
        match format!("{}/{rest}", self.policy).parse() {
            Ok(key) => key,
            Err(_) => unreachable!("the policy's name and all ids are plain segments"),
        }
    }

    /// `vault.json`.
    pub fn vault(&self) -> Key {
        self.key("vault.json")
    }
    /// `lease.json`.
    pub fn lease(&self) -> Key {
        self.key("lease.json")
    }
    /// `parts/<aa>/<part>`.
    pub fn part(&self, id: &PartId) -> Key {
        let hex = id.to_string();
        self.key(&format!("parts/{}/{hex}", &hex[..2]))
    }
    /// `parts/`.
    pub fn parts(&self) -> String {
        self.prefix("parts")
    }
    /// `backups/<backup>/contents`.
    pub fn contents(&self, backup: &BackupId) -> Key {
        self.key(&format!("backups/{backup}/contents"))
    }
    /// `backups/<backup>/head.json`.
    pub fn head(&self, backup: &BackupId) -> Key {
        self.key(&format!("backups/{backup}/head.json"))
    }
    /// `backups/`.
    pub fn backups(&self) -> String {
        self.prefix("backups")
    }
    /// `runs/<run>.json`.
    pub fn run(&self, run: &RunId) -> Key {
        self.key(&format!("runs/{run}.json"))
    }
    /// Text before the keys of all runs that began at `at` or later.
    pub fn runs_from(&self, at: Timestamp) -> String {
        format!("{}{}", self.runs(), at.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ"))
    }
    /// `runs/`.
    pub fn runs(&self) -> String {
        self.prefix("runs")
    }
    /// `proofs/<backup>/<time>-<level>-<verdict>.json`.
    pub fn proof(&self, backup: &BackupId, at: Timestamp, level: &str, passed: bool) -> Key {
        let verdict = if passed { PASSED } else { FAILED };
        self.key(&format!("proofs/{backup}/{}-{level}-{verdict}.json", time_in_key(at)))
    }
    /// `proofs/`.
    pub fn proofs(&self) -> String {
        self.prefix("proofs")
    }
    /// `proofs/<backup>/`.
    pub fn proofs_of(&self, backup: &BackupId) -> String {
        format!("{}{backup}/", self.proofs())
    }
    /// What the key of a proof says, if `key` is one.
    pub fn proof_of(&self, key: &Key) -> Option<ProofKey> {
        let (backup, name) = key.as_str().strip_prefix(&self.proofs())?.split_once('/')?;
        let (at, rest) = name.strip_suffix(".json")?.split_once('-')?;
        let (level, passed) = match rest.split_once('-') {
            None => (rest, None),
            Some((level, PASSED)) => (level, Some(true)),
            Some((level, FAILED)) => (level, Some(false)),
            Some(_) => return None,
        };
        Some(ProofKey { backup: backup.parse().ok()?, at: parse_time_in_key(at)?, level: level.to_owned(), passed })
    }
    /// `pins/<backup>.json`.
    pub fn pin(&self, backup: &BackupId) -> Key {
        self.key(&format!("pins/{backup}.json"))
    }
    /// `pins/`.
    pub fn pins(&self) -> String {
        self.prefix("pins")
    }
    /// `readers/<id>.json`.
    pub fn reader(&self, id: &RunId) -> Key {
        self.key(&format!("readers/{id}.json"))
    }
    /// `readers/`.
    pub fn readers(&self) -> String {
        self.prefix("readers")
    }
    /// `tombstones/<backup>.json`.
    pub fn tombstone(&self, backup: &BackupId) -> Key {
        self.key(&format!("tombstones/{backup}.json"))
    }
    /// `tombstones/parts-<id>.json`.
    pub fn parts_tombstone(&self, id: &RunId) -> Key {
        self.key(&format!("tombstones/parts-{id}.json"))
    }
    /// `tombstones/`.
    pub fn tombstones(&self) -> String {
        self.prefix("tombstones")
    }
    /// `notices/<topic>-<number>.json`; numbers have eight digits at least, so that keys sort by them.
    pub fn notice(&self, topic: &str, number: u64) -> Key {
        self.key(&format!("notices/{topic}-{number:08}.json"))
    }
    /// `notices/`.
    pub fn notices(&self) -> String {
        self.prefix("notices")
    }

    /// Topic and number of the notice that `key` holds, if it is the key of one.
    pub fn notice_of<'k>(&self, key: &'k Key) -> Option<(&'k str, u64)> {
        let (topic, number) = key.as_str().strip_prefix(&self.notices())?.strip_suffix(".json")?.rsplit_once('-')?;
        Some((topic, number.parse().ok()?))
    }

    /// The part that `key` holds, if it is the key of a part.
    pub fn part_of(&self, key: &Key) -> Option<PartId> {
        let rest = key.as_str().strip_prefix(&self.parts())?;
        let (folder, name) = rest.split_once('/')?;
        let id: PartId = name.parse().ok()?;
        name.starts_with(folder).then_some(id).filter(|_| folder.len() == 2)
    }

    /// The backup to which `key` belongs, and the object's name (`head.json`, `contents`).
    pub fn backup_of<'k>(&self, key: &'k Key) -> Option<(BackupId, &'k str)> {
        let (id, name) = key.as_str().strip_prefix(&self.backups())?.split_once('/')?;
        Some((id.parse().ok()?, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_ids_round_trip() {
        let layout = Layout::new("harena-db").expect("layout");
        let part = PartId::new([0xab; 32]);
        assert_eq!(layout.part(&part).as_str(), format!("harena-db/parts/ab/{part}"));
        assert_eq!(layout.part_of(&layout.part(&part)), Some(part));
        let backup: BackupId = "20261122T021500Z-7f3a".parse().expect("id");
        assert_eq!(layout.backup_of(&layout.head(&backup)), Some((backup.clone(), "head.json")));
        for other in ["harena-db/parts/ac/", "other/parts/ab/", "harena-db/parts/a/", "harena-db/parts/abab/"] {
            assert_eq!(layout.part_of(&format!("{other}{part}").parse().expect("key")), None, "{other}");
        }
        assert_eq!(layout.notice_of(&layout.notice("backup", 7)), Some(("backup", 7)));
        assert!(layout.notice("backup", 10) > layout.notice("backup", 9));
        assert_eq!(layout.notice_of(&layout.vault()), None);
        let at = "2026-11-22T02:15:00.120Z".parse().expect("time");
        assert_eq!(layout.proof(&backup, at, "content", true).name(), "20261122T021500.120000Z-content-passed.json");
        for passed in [true, false] {
            let said = ProofKey { backup: backup.clone(), at, level: "restore".to_owned(), passed: Some(passed) };
            assert_eq!(layout.proof_of(&layout.proof(&backup, at, "restore", passed)), Some(said));
        }
        let proofs = layout.proofs_of(&backup);
        let of = |name: &str| layout.proof_of(&format!("{proofs}{name}").parse().expect("key"));
        assert_eq!(of("20261122T021500.120000Z-content.json").map(|k| (k.at, k.passed)), Some((at, None)));
        for other in ["20261122T021500.120000Z-content-perhaps.json", "20261122T0215-content.json", "content.json", "x/y.json"] {
            assert_eq!(of(other), None, "{other}");
        }
        for bad in ["", "a/b", "..", "a\nb"] {
            assert!(Layout::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_with_both_numbers() {
        let e = check_format(FORMAT + 1, "vault.json").expect_err("refused");
        assert_eq!(e.kind().exit_code(), 8);
        assert!(e.message().contains("format 2") && e.message().contains("up to 1"), "{e}");
    }
}
