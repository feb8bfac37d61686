//! Retention classes: a slice has rows of one class.

use std::{fmt, str::FromStr, time::Duration};

use crate::rules::{Cold, RuleSet, Warm};

/// The retention class of a slice: the ages, in warm and in cold, up to which its rows were to be kept
/// when they were sealed. Its text is part of file names: `w604800000-cforever`, `w60000-c86400000`, `w60000-cnone` (cold tier disabled).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    warm_ms: u64,
    cold: ColdAge,
}

/// The age at which rows expire from the cold tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum ColdAge {
    Disabled,
    Millis(u64),
    Forever,
}

impl Class {
    /// Makes the class of rows with these rules.
    #[must_use]
    pub fn new(warm: &Warm, cold: &Cold) -> Self {
        let cold = match (cold.disabled, cold.max_age_ms) {
            (true, _) => ColdAge::Disabled,
            (false, Some(ms)) => ColdAge::Millis(ms),
            (false, None) => ColdAge::Forever,
        };
        Self {
            warm_ms: warm.max_age_ms,
            cold,
        }
    }

    /// The age at which rows expire from the warm tier.
    #[must_use]
    pub fn warm_max_age(self) -> Duration {
        Duration::from_millis(self.warm_ms)
    }

    /// The age at which rows expire from the cold tier: `None` is never, zero a disabled cold tier.
    #[must_use]
    pub fn cold_max_age(self) -> Option<Duration> {
        match self.cold {
            ColdAge::Disabled => Some(Duration::ZERO),
            ColdAge::Millis(ms) => Some(Duration::from_millis(ms)),
            ColdAge::Forever => None,
        }
    }

    /// Returns true if rows of this class are archived: the cold tier is not disabled.
    #[must_use]
    pub fn is_archived(self) -> bool {
        self.cold != ColdAge::Disabled
    }
}

impl RuleSet {
    /// Returns true if rows of `class` are archived. Rows that were sealed for a disabled cold tier are
    /// archived too when no rule in force disables it any more: without rules nothing is removed.
    #[must_use]
    pub fn archives(&self, class: Class) -> bool {
        let is_disabled = |cold: &Cold| cold.disabled;
        class.is_archived()
            || !self
                .in_force()
                .any(|policy| policy.cold.as_ref().is_some_and(is_disabled))
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}-c", self.warm_ms)?;
        match self.cold {
            ColdAge::Disabled => f.write_str("none"),
            ColdAge::Millis(ms) => write!(f, "{ms}"),
            ColdAge::Forever => f.write_str("forever"),
        }
    }
}

/// The error for a text that is not a class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a retention class: {0:?}")]
pub struct ParseClassError(String);

impl FromStr for Class {
    type Err = ParseClassError;

    fn from_str(text: &str) -> Result<Self, ParseClassError> {
        let invalid = || ParseClassError(text.to_owned());
        let (warm, cold) = text.split_once("-c").ok_or_else(invalid)?;
        let warm = warm.strip_prefix('w').ok_or_else(invalid)?;
        let cold = match cold {
            "none" => ColdAge::Disabled,
            "forever" => ColdAge::Forever,
            ms => ColdAge::Millis(ms.parse().map_err(|_| invalid())?),
        };
        let warm_ms = warm.parse().map_err(|_| invalid())?;
        Ok(Self { warm_ms, cold })
    }
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn a_class_round_trips_through_its_text() {
        for text in ["w604800000-cforever", "w60000-c86400000", "w1-cnone"] {
            assert_eq!(text.parse::<Class>().unwrap().to_string(), text);
        }
        for text in ["", "w-c", "w1", "c1-w1", "w1-c-1"] {
            text.parse::<Class>().unwrap_err();
        }
    }
}
