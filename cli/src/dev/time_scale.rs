//! Accelerated time: the factor by which policies and intervals are shortened.

use std::{str::FromStr, time::Duration};

/// Lower bound of accelerated intervals; shorter ones only cost CPU.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// `3600x`: an hour of every policy passes in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeScale {
    factor: u32,
}

impl TimeScale {
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

    /// Returns `interval`, accelerated, as the value of a service's flag.
    pub(crate) fn flag(self, interval: Duration) -> String {
        self.flag_from(MIN_INTERVAL, interval)
    }

    /// Like [`Self::flag`], not accelerated below `min`.
    pub(crate) fn flag_from(self, min: Duration, interval: Duration) -> String {
        let scaled = (interval / self.factor).max(min.min(interval));
        humantime::format_duration(Duration::from_millis(
            u64::try_from(scaled.as_millis()).unwrap_or(u64::MAX),
        ))
        .to_string()
        .replace(' ', "")
    }
}

impl FromStr for TimeScale {
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
        assert_eq!("3600x".parse(), Ok(TimeScale::new(3600)));
        assert_eq!("60".parse(), Ok(TimeScale::new(60)));
        for text in ["", "x", "0x", "-1", "1.5x", "fast"] {
            text.parse::<TimeScale>().unwrap_err();
        }
    }

    #[test]
    fn intervals_shrink_but_not_below_a_second() {
        let minutes = Duration::from_secs(600);
        assert_eq!(TimeScale::new(1).flag(minutes), "10m");
        assert_eq!(TimeScale::new(7).flag(minutes), "1m25s714ms");
        assert_eq!(TimeScale::new(3600).flag(minutes), "1s");
        assert_eq!(TimeScale::new(1).flag(Duration::from_millis(200)), "200ms");
    }
}
