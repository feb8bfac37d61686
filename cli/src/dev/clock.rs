//! Accelerated time: how much sooner things happen.

use std::{str::FromStr, time::Duration};

/// Shorter intervals only heat the room.
const SHORTEST: Duration = Duration::from_secs(1);

/// `3600x`: an hour of every policy passes in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    factor: u32,
}

impl Clock {
    #[cfg(test)]
    pub(crate) const fn new(factor: u32) -> Self {
        Self { factor }
    }

    pub(crate) fn factor(self) -> u32 {
        self.factor
    }

    pub(crate) fn is_accelerated(self) -> bool {
        self.factor > 1
    }

    /// An interval of the real world as a service's flag.
    pub(crate) fn flag(self, interval: Duration) -> String {
        self.flag_from(SHORTEST, interval)
    }

    /// [`Self::flag`], not accelerated below `shortest`.
    pub(crate) fn flag_from(self, shortest: Duration, interval: Duration) -> String {
        let scaled = (interval / self.factor).max(shortest.min(interval));
        humantime::format_duration(Duration::from_millis(
            u64::try_from(scaled.as_millis()).unwrap_or(u64::MAX),
        ))
        .to_string()
        .replace(' ', "")
    }
}

impl FromStr for Clock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_suffix(['x', 'X']).unwrap_or(text);
        match digits.parse() {
            Ok(factor @ 1..=1_000_000) => Ok(Self { factor }),
            _ => Err("write a factor from 1x to 1000000x, for example 3600x".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_may_have_an_x() {
        assert_eq!("3600x".parse(), Ok(Clock::new(3600)));
        assert_eq!("60".parse(), Ok(Clock::new(60)));
        for text in ["", "x", "0x", "-1", "1.5x", "fast"] {
            text.parse::<Clock>().unwrap_err();
        }
    }

    #[test]
    fn intervals_shrink_but_not_below_a_second() {
        let minutes = Duration::from_secs(600);
        assert_eq!(Clock::new(1).flag(minutes), "10m");
        assert_eq!(Clock::new(7).flag(minutes), "1m25s714ms");
        assert_eq!(Clock::new(3600).flag(minutes), "1s");
        assert_eq!(Clock::new(1).flag(Duration::from_millis(200)), "200ms");
    }
}
