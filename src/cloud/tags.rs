//! What pgkeep writes on everything that it makes in AWS, and without which it deletes nothing.

use std::collections::BTreeMap;

use crate::base::ids::BackupId;

/// The policy.
pub const POLICY: &str = "pgkeep:policy";
/// Identity of the vault that lists the backup: two vaults of policies of the same name are not taken for each other.
pub const VAULT: &str = "pgkeep:vault";
/// The backup.
pub const BACKUP: &str = "pgkeep:backup";
/// How many snapshots make the backup, copies not counted.
pub const SET_SIZE: &str = "pgkeep:set-size";
/// When the snapshots were asked for, by pgkeep's clock.
pub const TAKEN_AT: &str = "pgkeep:taken-at";
/// Which call made it: of one whose answer was lost and one that repeated it, each has a set of its own.
pub const CALL: &str = "pgkeep:call";
/// What the user called the backup.
pub const LABEL: &str = "pgkeep:label";
/// What is shown in consoles.
pub const NAME: &str = "Name";
/// Of a copy: the snapshot that it is a copy of.
pub const COPY_OF: &str = "pgkeep:copy-of";
/// Of what a restore made: the backup.
pub const RESTORED_FROM: &str = "pgkeep:restored-from";
/// Of what a restore made: the run.
pub const RESTORED_BY: &str = "pgkeep:restored-by";
/// Of what a point-in-time restore made: the instant that it shows.
pub const RESTORE_TIME: &str = "pgkeep:restore-time";

/// Longest value that AWS takes, in characters.
const VALUE_CHARS: usize = 256;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// Whose a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belonging {
    /// The policy.
    pub policy: String,
    /// Identity of the vault.
    pub vault: String,
    /// The backup.
    pub backup: BackupId,
    /// The account of AWS that the snapshots are in, where the backup says so; no tag.
    pub account: Option<String>,
}

impl Belonging {
    /// As tags.
    pub fn tags(&self) -> Tags {
        [(POLICY, self.policy.as_str()), (VAULT, self.vault.as_str()), (BACKUP, self.backup.as_str())]
            .into_iter()
            .map(|(key, text)| (key.to_owned(), value(text)))
            .collect()
    }

    /// Whether `tags` say the same.
    pub fn marks(&self, tags: &Tags) -> bool {
        self.tags().iter().all(|(key, text)| tags.get(key) == Some(text))
    }
}

/// `text` as the value of a tag: every service takes letters, digits, spaces and `_.:/=+-@`, and not all of them more.
pub fn value(text: &str) -> String {
    let taken = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    text.chars().map(|c| if taken(c) { c } else { '_' }).take(VALUE_CHARS).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_say_whose_a_snapshot_is() {
        let of = |backup: &str| Belonging {
            policy: "volumes".to_owned(),
            vault: "0123".to_owned(),
            backup: backup.parse().expect("id"),
            account: None,
        };
        let (ours, other) = (of("20261122T021500Z-7f3a"), of("20261122T021500Z-7f3b"));
        let mut tags = ours.tags();
        tags.insert("Team".to_owned(), "db".to_owned());
        assert!(ours.marks(&tags) && !other.marks(&tags));
        assert_eq!(value(" release «1»\n"), "release _1__");
        assert_eq!(value(&"é".repeat(300)).chars().count(), 256);
    }
}
