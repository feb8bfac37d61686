//! The most permissive of two rules for one tier: it keeps every event that either of them keeps.

use crate::rules::{Cold, Hot, Sampling, Warm};

/// Rules of one tier that can be combined with those in force before a change, while the change waits
/// for its grace period.
pub(crate) trait MostPermissive: Clone + PartialEq {
    /// The least rules that keep every event that `self` or `before` keeps: the higher of each limit,
    /// and an enabled cold tier before a disabled one.
    fn most_permissive(&self, before: &Self) -> Self;
}

impl MostPermissive for Hot {
    fn most_permissive(&self, before: &Self) -> Self {
        Self {
            max_age_ms: self.max_age_ms.max(before.max_age_ms),
            max_events_per_stream: higher_limit(
                self.max_events_per_stream,
                before.max_events_per_stream,
            ),
        }
    }
}

impl MostPermissive for Warm {
    fn most_permissive(&self, before: &Self) -> Self {
        Self {
            max_age_ms: self.max_age_ms.max(before.max_age_ms),
            max_bytes: higher_limit(self.max_bytes, before.max_bytes),
        }
    }
}

impl MostPermissive for Cold {
    fn most_permissive(&self, before: &Self) -> Self {
        match (self.disabled, before.disabled) {
            (false, true) => return self.clone(),
            (true, false) => return before.clone(),
            _ => {}
        }
        Self {
            max_age_ms: higher_limit(self.max_age_ms, before.max_age_ms),
            disabled: self.disabled,
            sampling: most_permissive_sampling(self.sampling.as_ref(), before.sampling.as_ref()),
        }
    }
}

/// The higher of two limits; `None` is no limit.
fn higher_limit(now: Option<u64>, before: Option<u64>) -> Option<u64> {
    Some(now?.max(before?))
}

/// The sampling that keeps more events. `None` keeps all. Of two that thin differently neither is known
/// to keep more, so the one in force before the change is kept.
fn most_permissive_sampling(now: Option<&Sampling>, before: Option<&Sampling>) -> Option<Sampling> {
    let (now, before) = (now?, before?);
    Some(if now.thins_like(before) { now } else { before }.clone())
}

impl Sampling {
    /// Returns true if both keep the same share of the same events. Names and salts are not compared:
    /// a salt decides which rows are kept, not how many.
    pub(crate) fn thins_like(&self, other: &Self) -> bool {
        self.hash_key == other.hash_key
            && self.default_action == other.default_action
            && self.rules.len() == other.rules.len()
            && self.rules.iter().zip(&other.rules).all(|(own, other)| {
                own.event_types == other.event_types
                    && own.match_labels == other.match_labels
                    && own.action == other.action
                    && own.sample == other.sample
            })
    }
}
