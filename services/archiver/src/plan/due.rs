//! When the rows of a cold file must be checked against the rules.

use std::time::Duration;

use cold_tier::ColdFile;
use event::Timestamp;
use retention::{Class, Policy, RuleSet};

/// The rewrites for which the rows of a file must be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DueRewrites {
    pub(crate) expiry: bool,
    pub(crate) sampling: bool,
}

/// Returns the rewrites that `file` may be due for. One without rows says that they were sampled out, and ends when
/// they would have expired by their class. Any other is due at the times that these rules, whose hash is `policy`,
/// have found for its rows, if they were applied to it. Else by the shortest ages of any rule: the rows of one
/// class may be of several rules, and of others than when they were sealed. Which rows go is decided row by row.
pub(crate) fn due_rewrites(
    file: &ColdFile,
    rules: &RuleSet,
    policy: &str,
    now: Timestamp,
) -> DueRewrites {
    let nothing = DueRewrites {
        expiry: false,
        sampling: false,
    };
    let Some(provenance) = &file.provenance else {
        return nothing;
    };
    let Some(class) = provenance.class else {
        return nothing;
    };
    let age = now.since(provenance.received_max);
    if file.rows == 0 {
        let expiry = expiry_age(class).is_some_and(|limit| age > limit);
        return DueRewrites { expiry, ..nothing };
    }
    let may_be_sampled = provenance.sampled.is_none() && rules.in_force().any(has_sampling);
    let judged = provenance.judged.as_ref();
    if let Some(judged) = judged.filter(|judged| judged.rules == policy) {
        return DueRewrites {
            expiry: judged.expiry_due.is_some_and(|due| now > due),
            sampling: may_be_sampled && now > judged.sampling_due,
        };
    }
    let (expiry_age, warm_age) = (shortest_expiry_age(rules), shortest_warm_age(rules));
    DueRewrites {
        expiry: expiry_age.is_some_and(|limit| age > limit),
        sampling: may_be_sampled && age > warm_age,
    }
}

fn has_sampling(policy: &Policy) -> bool {
    let cold = policy.cold.as_ref();
    cold.is_some_and(|cold| cold.sampling.is_some())
}

/// The classes that the rules can produce: one for each pair of a warm and a cold rule.
fn classes_of(rules: &RuleSet) -> impl Iterator<Item = Class> {
    let warm = rules.in_force().filter_map(|p| p.warm.as_ref());
    warm.flat_map(|warm| {
        let cold = rules.in_force().filter_map(|p| p.cold.as_ref());
        cold.map(move |cold| Class::new(warm, cold))
    })
}

fn shortest_warm_age(rules: &RuleSet) -> Duration {
    let ages = rules.in_force().filter_map(|p| p.warm.as_ref());
    ages.map(retention::Warm::max_age).min().unwrap_or_default()
}

fn shortest_expiry_age(rules: &RuleSet) -> Option<Duration> {
    classes_of(rules).filter_map(expiry_age).min()
}

/// The age at which rows of `class` expire from every tier; `None` is never.
fn expiry_age(class: Class) -> Option<Duration> {
    Some(class.cold_max_age()?.max(class.warm_max_age()))
}
