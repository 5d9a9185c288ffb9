//! From what a person typed to a selector.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::Result;
use crate::policy::time::parse_at;
use crate::repo::listing::Selector;

/// Which backup a person asked for; at most one is given.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// A time.
    pub at: Option<String>,
    /// An id.
    pub backup: Option<String>,
    /// A label.
    pub label: Option<String>,
}

impl Choice {
    /// The selector; nothing given means now.
    pub fn selector(&self, zone: &TimeZone, now: Timestamp) -> Result<Selector> {
        if let Some(label) = &self.label {
            return Ok(Selector::Label(label.clone()));
        }
        match &self.at {
            Some(at) => Ok(Selector::At(parse_at(at, now, zone)?)),
            None => by_id(self.backup.as_deref()),
        }
    }
}

/// The backup of that id, or the newest.
pub fn by_id(backup: Option<&str>) -> Result<Selector> {
    backup.map_or(Ok(Selector::Latest), |id| id.parse().map(Selector::Backup))
}
