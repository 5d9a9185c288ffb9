//! Reasons to keep a backup, as values and in words.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::base::units::format_duration;

/// Why a backup stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Reason {
    /// The policy has no retention section.
    Everything,
    /// Number `n` of the newest `of`.
    Last {
        /// From 1, the newest.
        n: u32,
        /// The rule's number.
        of: u32,
    },
    /// Its consistency point is within this time before the newest.
    Within {
        /// The rule's time, in seconds.
        seconds: u64,
    },
    /// The newest of its hour, day, week, month or year.
    Calendar {
        /// Which calendar.
        period: Period,
        /// The hour, day, week, month or year, in the policy's zone.
        name: String,
    },
    /// The newest proven one.
    NewestProven,
    /// Number `n` of the newest complete ones that always stay.
    NewestComplete {
        /// From 1, the newest.
        n: u32,
    },
    /// Somebody pinned it.
    Pinned {
        /// Why.
        why: String,
    },
    /// It was made with `--keep-for`.
    KeepUntil {
        /// Until then.
        time: Timestamp,
    },
    /// It looks wrong and waits for somebody to look at it.
    Anomalous,
    /// It is not complete yet, and newer than the newest complete one.
    Unfinished,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("no retention rules"),
            Self::Last { n, of } => write!(f, "last {n} of {of}"),
            Self::Within { seconds } => write!(f, "within {} of the newest", format_duration(Duration::from_secs(*seconds))),
            Self::Calendar { period, name } => write!(f, "{} {name}", period.as_str()),
            Self::NewestProven => f.write_str("newest proven"),
            Self::NewestComplete { n: 1 } => f.write_str("newest complete"),
            Self::NewestComplete { n } => write!(f, "newest complete, number {n}"),
            Self::Pinned { why } if why.is_empty() => f.write_str("pinned"),
            Self::Pinned { why } => write!(f, "pinned: {why}"),
            Self::KeepUntil { time } => write!(f, "keep until {}", time.strftime("%Y-%m-%dT%H:%M:%SZ")),
            Self::Anomalous => f.write_str("anomalous, not acknowledged"),
            Self::Unfinished => f.write_str("not complete yet"),
        }
    }
}

/// A calendar by which backups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Hours; the two of a clock set back are two.
    Hourly,
    /// Days.
    Daily,
    /// ISO weeks.
    Weekly,
    /// Months.
    Monthly,
    /// Years.
    Yearly,
}

impl Period {
    /// `daily` and the like.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The name of the bucket that `time` falls into.
    pub(super) fn bucket(self, time: Timestamp, zone: &TimeZone) -> String {
        let local = time.to_zoned(zone.clone());
        match self {
            Self::Hourly => local.strftime("%Y-%m-%d %H:00%:z").to_string(),
            Self::Daily => local.strftime("%Y-%m-%d").to_string(),
            Self::Weekly => local.strftime("%G-W%V").to_string(),
            Self::Monthly => local.strftime("%Y-%m").to_string(),
            Self::Yearly => local.strftime("%Y").to_string(),
        }
    }
}
