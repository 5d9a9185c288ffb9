//! Time zones from the compiled-in database, and what a local time means in one.

use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use super::suggest::nearest;
use crate::base::{Error, Result};

/// The compiled-in database: the same answers on every machine, also in a container without tzdata.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zone with this IANA name.
pub fn find(name: &str) -> Result<TimeZone> {
    if name.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    DATABASE.get(name).map_err(|_| {
        let near = suggestion(name).map(|n| format!("did you mean '{n}'? ")).unwrap_or_default();
        Error::usage(format!("'{name}' is not a time zone"))
            .hint(format!("{near}IANA names such as Europe/Paris or UTC are known"))
    })
}

/// The known zone whose name is nearest to `name`: as written, or by its city alone.
pub fn suggestion(name: &str) -> Option<String> {
    let names: Vec<String> = DATABASE.available().map(|n| n.as_str().to_owned()).collect();
    let city = name.rsplit('/').next().unwrap_or(name).replace(' ', "_");
    nearest(name, names.iter().map(String::as_str))
        .or_else(|| {
            let cities = names.iter().filter_map(|n| n.rsplit_once('/').map(|(_, city)| city));
            let near = nearest(&city, cities)?;
            names.iter().find(|n| n.rsplit_once('/').is_some_and(|(_, city)| city == near)).map(String::as_str)
        })
        .map(str::to_owned)
}

/// A zone's name for people.
pub fn name(zone: &TimeZone) -> String {
    zone.iana_name().map_or_else(|| "UTC".to_owned(), str::to_owned)
}

/// What a local time means in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// One instant.
    Once(Timestamp),
    /// The clock was set back: it happened twice.
    Twice {
        /// Before the clock was set back.
        first: Timestamp,
        /// After.
        second: Timestamp,
    },
    /// The clock was set forward: it never happened.
    Never {
        /// The instant of the jump: the first valid one after the skipped time.
        jump: Timestamp,
        /// What it means counted with the time in force after the jump; lies before it.
        before: Timestamp,
        /// What it means counted with the time in force before the jump; lies after it.
        after: Timestamp,
    },
}

impl Reading {
    /// The instant at which a slot at this local time is due: in a gap the first valid instant after it, in a fold the first
    /// occurrence.
    pub const fn due(self) -> Timestamp {
        match self {
            Self::Once(t) | Self::Twice { first: t, .. } | Self::Never { jump: t, .. } => t,
        }
    }
}

/// What `local` means in `zone`; `None` outside representable time.
pub fn read(zone: &TimeZone, local: DateTime) -> Option<Reading> {
    let instant = |offset: jiff::tz::Offset| offset.to_timestamp(local).ok();
    Some(match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => Reading::Once(instant(offset)?),
        AmbiguousOffset::Fold { before, after } => Reading::Twice { first: instant(before)?, second: instant(after)? },
        AmbiguousOffset::Gap { before, after } => {
            let late = instant(before)?;
            let past = late.checked_add(SignedDuration::from_nanos(1)).ok()?;
            let jump = zone.preceding(past).next().map_or(late, |t| t.timestamp());
            Reading::Never { jump, before: instant(after)?, after: late }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_in(zone: &str, local: &str) -> Reading {
        read(&find(zone).expect("zone"), local.parse().expect("local time")).expect("representable")
    }

    #[test]
    fn gaps_and_folds_have_their_instants() {
        let at = |text: &str| text.parse::<Timestamp>().expect("time");
        assert_eq!(read_in("Europe/Paris", "2026-03-29T02:30").due(), at("2026-03-29T01:00:00Z"));
        assert_eq!(
            read_in("Europe/Paris", "2026-10-25T02:30"),
            Reading::Twice { first: at("2026-10-25T00:30:00Z"), second: at("2026-10-25T01:30:00Z") }
        );
        // Lord Howe moves by half an hour; Apia skipped a whole day.
        assert_eq!(read_in("Australia/Lord_Howe", "2026-10-04T02:15").due(), at("2026-10-03T15:30:00Z"));
        assert_eq!(read_in("Pacific/Apia", "2011-12-30T12:00").due(), at("2011-12-30T10:00:00Z"));
    }

    #[test]
    fn names_are_suggested() {
        assert_eq!(suggestion("Europe/Pari").as_deref(), Some("Europe/Paris"));
        assert_eq!(suggestion("Paris").as_deref(), Some("Europe/Paris"));
        assert_eq!(suggestion("xyzzy/plugh"), None);
        assert_eq!(find("Mars/Olympus").expect_err("unknown").kind().exit_code(), 2);
    }
}
