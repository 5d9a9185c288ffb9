//! Server versions: what we know, and what exists only in some of them.
//!
//! This is the one place that says since when something exists; whoever reads or writes it asks [`Version::has`]. The table at the end of
//! `docs/COVERAGE.md` says the same to users, and a test compares the two.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `server_version_num`: 150018 is 15.18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u32);

impl Version {
    /// Oldest server that we read.
    pub const OLDEST: u32 = 13;
    /// Newest major that this release was tested with; a newer one gets a warning, and its data is still exported.
    pub const NEWEST_TESTED: u32 = 18;

    /// The major version.
    pub const fn major(self) -> u32 {
        self.0 / 10000
    }

    /// Whether the server has something.
    pub const fn has(self, feature: Feature) -> bool {
        self.major() >= feature.since()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 10000, self.0 % 10000)
    }
}

macro_rules! features {
    ($($name:ident $since:literal $says:literal;)*) => {
        /// What does not exist in all the versions that we read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Feature {
            $(#[doc = $says] $name,)*
        }

        impl Feature {
            /// All of them, by the version that brought them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The first major version that has it.
            pub const fn since(self) -> u32 {
                match self { $(Self::$name => $since,)* }
            }

            /// What it is, in the words of `docs/COVERAGE.md`.
            pub const fn says(self) -> &'static str {
                match self { $(Self::$name => $says,)* }
            }
        }
    };
}

features! {
    ColumnCompression 14 "compression methods of columns";
    MultirangeTypes 14 "multirange types, and casts from ranges to them";
    ReadAllData 14 "the role `pg_read_all_data`";
    SqlBodies 14 "functions whose body is SQL and not a string";
    SubscriptTypes 14 "subscript functions of base types";
    SubscriptionStreaming 14 "subscriptions: `binary`, `streaming`";
    TidRanges 14 "reading a table by ranges of blocks";
    ClosedPublicSchema 15 "the `public` schema without CREATE for everybody";
    IcuDatabases 15 "databases and collations whose locale is of another provider than libc";
    NullsNotDistinct 15 "unique constraints with NULLS NOT DISTINCT";
    ParameterPrivileges 15 "privileges on configuration parameters";
    PublicationFilters 15 "publications: column lists, row filters, schemas";
    SubscriptionTwoPhase 15 "subscriptions: `two_phase`, `disable_on_error`";
    UnloggedSequences 15 "unlogged sequences";
    CreateRoleLimits 16 "CREATEROLE that gives only what its own role has";
    IcuRules 16 "ICU rules of databases and collations";
    MembershipOptions 16 "memberships with INHERIT, SET and a grantor that the server keeps";
    ParallelStreaming 16 "subscriptions: `streaming = parallel`";
    SubscriptionOrigin 16 "subscriptions: `origin`, `password_required`, `run_as_owner`";
    BuiltinLocales 17 "databases and collations of the builtin locale provider";
    EventTriggersOff 17 "switching event triggers off in a session";
    MaintainPrivilege 17 "the MAINTAIN privilege";
    SetExpression 17 "changing a generation expression";
    SubscriptionFailover 17 "subscriptions: `failover`";
    GeneratedPublication 18 "publications: `publish_generated_columns`";
    NotNullConstraints 18 "not-null constraints with names, NO INHERIT, NOT VALID";
    SequenceValues 18 "reading the value of a sequence with a function";
    TemporalKeys 18 "keys with WITHOUT OVERLAPS and PERIOD";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coverage_page_says_since_when_everything_exists() {
        let page = include_str!("../../docs/COVERAGE.md");
        let (_, table) = page.split_once("\n## Versions\n").expect("a section on versions");
        let lines: Vec<&str> = table.lines().filter(|l| l.starts_with("| 1")).collect();
        let expected: Vec<String> = Feature::ALL.iter().map(|f| format!("| {} | {} |", f.since(), f.says())).collect();
        assert_eq!(lines, expected);
        assert!(Feature::ALL.is_sorted_by_key(|f| f.since()));
        assert!(Feature::ALL.iter().all(|f| f.since() > Version::OLDEST && f.since() <= Version::NEWEST_TESTED));
    }

    #[test]
    fn a_version_has_what_its_major_brought_and_what_older_ones_did() {
        let version = Version(160_004);
        assert!(version.has(Feature::TidRanges) && version.has(Feature::IcuRules) && !version.has(Feature::MaintainPrivilege));
    }
}
