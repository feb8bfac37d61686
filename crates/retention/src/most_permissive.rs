//! What keeps more: of two rules for one tier, the rule under which nothing goes that either keeps.

use crate::rules::{Cold, Hot, Sampling, Warm};

pub(crate) trait MostPermissive: Clone + PartialEq {
    /// Keeps all that `self` or `before` keeps.
    fn most_permissive(&self, before: &Self) -> Self;
}

impl MostPermissive for Hot {
    fn most_permissive(&self, before: &Self) -> Self {
        Self {
            max_age_ms: self.max_age_ms.max(before.max_age_ms),
            max_events_per_stream: most(self.max_events_per_stream, before.max_events_per_stream),
        }
    }
}

impl MostPermissive for Warm {
    fn most_permissive(&self, before: &Self) -> Self {
        Self {
            max_age_ms: self.max_age_ms.max(before.max_age_ms),
            max_bytes: most(self.max_bytes, before.max_bytes),
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
            max_age_ms: most(self.max_age_ms, before.max_age_ms),
            disabled: self.disabled,
            sampling: most_permissive_sampling(self.sampling.as_ref(), before.sampling.as_ref()),
        }
    }
}

/// `None` is no limit.
fn most(now: Option<u64>, before: Option<u64>) -> Option<u64> {
    Some(now?.max(before?))
}

/// No sampling keeps all. Of two samplings nobody can tell which keeps more, so the old one stays.
fn most_permissive_sampling(now: Option<&Sampling>, before: Option<&Sampling>) -> Option<Sampling> {
    let (now, before) = (now?, before?);
    Some(if now.alike(before) { now } else { before }.clone())
}

impl Sampling {
    /// Whether both thin alike: names and salts set aside, which only say which rows stay, not how
    /// many.
    pub(crate) fn alike(&self, other: &Self) -> bool {
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
