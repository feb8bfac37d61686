//! Points in time: microseconds since 1970, UTC.

use std::{fmt, str::FromStr, time::Duration};

/// A point in time, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The error for a text that is not a time; holds at most 64 characters of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time: {0:?}; write it as RFC 3339, for example 2026-11-20T09:00:00.021384Z")]
pub struct ParseTimestampError(String);

impl Timestamp {
    /// 0001-01-01T00:00:00Z: the first time that every tier and every answer can represent.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-30T22:00:00Z: the last time that every tier and every answer can represent.
    pub const MAX: Self = Self(253_402_207_200_000_000);

    /// Makes a time of microseconds since 1970, UTC, that come from outside; `None` if they are not
    /// between [`Self::MIN`] and [`Self::MAX`].
    #[must_use]
    pub fn checked_from_micros(micros: i64) -> Option<Self> {
        let time = Self(micros);
        (Self::MIN..=Self::MAX).contains(&time).then_some(time)
    }

    /// Makes a time of microseconds since 1970, UTC.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The time in microseconds since 1970, UTC.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads the wall clock. Only for the edge: code that makes decisions takes the time as an
    /// argument.
    #[must_use]
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_microsecond())
    }

    /// The time that is `age` earlier; saturates.
    #[must_use]
    pub fn minus(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(micros(age)))
    }

    /// The time that is `delay` later; saturates.
    #[must_use]
    pub fn plus(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(micros(delay)))
    }

    /// The duration since `earlier`; zero if this time is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The UTC date as text, `2026-11-20`.
    #[must_use]
    pub fn date(self) -> String {
        self.to_string()[..10].to_owned()
    }

    /// The start of the UTC hour that this time is in.
    #[must_use]
    pub const fn hour(self) -> Self {
        const HOUR_MICROS: i64 = 3_600_000_000;
        Self(self.0.div_euclid(HOUR_MICROS) * HOUR_MICROS)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Writes RFC 3339 in UTC with six digits of fraction: `2026-11-20T09:00:00.021384Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MIN);
        write!(f, "{time:.6}")
    }
}

/// Parses RFC 3339 with any offset; digits beyond microseconds are cut off. Years 1970 to 9999.
impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        let invalid = || ParseTimestampError(text.chars().take(64).collect());
        let time: jiff::Timestamp = text.parse().map_err(|_| invalid())?;
        let time = Self(time.as_microsecond());
        if !(Self(0)..=Self::MAX).contains(&time) {
            return Err(invalid());
        }
        Ok(time)
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn a_time_is_written_in_utc_with_microseconds() {
        let time: Timestamp = "2026-11-20T10:00:00.021384+01:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-20T09:00:00.021384Z");
        let whole: Timestamp = "2026-11-20T09:00:00Z".parse().unwrap();
        assert_eq!(whole.to_string(), "2026-11-20T09:00:00.000000Z");
        assert_eq!(time.date(), "2026-11-20");
        assert_eq!(time.hour(), whole);
    }

    #[test]
    fn the_years_1_to_9999_have_a_text_and_times_beyond_them_are_refused() {
        assert_eq!(Timestamp::MIN.to_string(), "0001-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-30T22:00:00.000000Z");
        for time in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(Timestamp::checked_from_micros(time.as_micros()), Some(time));
        }
        let beyond = [
            Timestamp::MIN.as_micros() - 1,
            Timestamp::MAX.as_micros() + 1,
        ];
        for micros in beyond.into_iter().chain([i64::MIN, i64::MAX]) {
            assert_eq!(Timestamp::checked_from_micros(micros), None);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "9999-12-30T22:00:00.000001Z",
            "1732320000",
        ] {
            text.parse::<Timestamp>().unwrap_err();
        }
    }
}
