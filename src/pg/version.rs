//! Server versions: what we know, and what exists only in some of them.

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

    /// Whether the server is of this major or newer.
    pub const fn at_least(self, major: u32) -> bool {
        self.major() >= major
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 10000, self.0 % 10000)
    }
}
