//! The day by which a file of `events` is filed: the value of its partition column `dt`. Pure.

use event::{StoredEvent, Timestamp};

/// The tag of a log entry that says which day `dt` is; absent in files of versions that filed by event
/// time.
const DT_TAG: &str = "isotherm.dt";
/// The value of `DT_TAG` for the day of `received_at`.
const RECEIVED_AT: &str = "received_at";

/// The time whose UTC day the `dt` of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DayOf {
    /// The event time: files of an older version. Producers choose it, so one request may have events of
    /// any number of days.
    EventTime,
    /// `received_at`, which the log sets: every new file.
    ReceivedAt,
}

/// The day of every row of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    /// A UTC day, `2026-11-20`.
    pub date: String,
    /// The time of a row that is within it.
    pub of: DayOf,
}

impl DayOf {
    /// Returns the day of `row`.
    #[must_use]
    pub fn day(self, row: &StoredEvent) -> Day {
        let time: Timestamp = match self {
            Self::EventTime => row.event.timestamp,
            Self::ReceivedAt => row.received_at,
        };
        Day {
            date: time.date(),
            of: self,
        }
    }
}

impl Day {
    /// Returns the day `date` of a log entry of which `tag` looks up the tags.
    pub(crate) fn from_entry<'a>(date: String, tag: impl Fn(&str) -> Option<&'a str>) -> Self {
        let of = match tag(DT_TAG) {
            Some(RECEIVED_AT) => DayOf::ReceivedAt,
            _ => DayOf::EventTime,
        };
        Self { date, of }
    }

    /// Returns the tag of the log entry, as name and value.
    pub(crate) fn tag(&self) -> Option<(String, Option<String>)> {
        let is_received = self.of == DayOf::ReceivedAt;
        is_received.then(|| (DT_TAG.to_owned(), Some(RECEIVED_AT.to_owned())))
    }
}
