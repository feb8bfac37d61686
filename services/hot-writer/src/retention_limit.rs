//! The age and the number of events up to which the rules keep a conversation in the hot tier. Pure.
//!
//! The tier trims conversations without regard to event types, so a conversation gets the most permissive
//! of the policies that any of its events may fall under.

use std::time::Duration;

use retention::{Hot, Policy, RuleSet, Selector, glob_matches};

/// Limits on what a conversation may keep in the hot tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetentionLimit {
    pub(crate) max_age: Duration,
    /// `None` is unlimited.
    pub(crate) max_events: Option<u64>,
}

/// The retention limit of a conversation by `rules`.
pub(crate) fn limit_for(rules: &RuleSet, tenant: &str, conversation: &str) -> RetentionLimit {
    let generations = rules.generations();
    let limits = generations.map(|policies| limit_of(policies, tenant, conversation));
    limits
        .reduce(RetentionLimit::most_permissive)
        .expect("a rule set has policies")
}

/// The retention limit by one list of policies: the most permissive of those that may apply, up to the
/// first one that applies to every event.
fn limit_of(policies: &[Policy], tenant: &str, conversation: &str) -> RetentionLimit {
    let mut limit: Option<RetentionLimit> = None;
    for (policy, hot) in policies
        .iter()
        .filter(|policy| !policy.dry_run)
        .filter_map(hot_rule)
    {
        let selector = &policy.selector;
        if !matches_any(&selector.tenants, tenant)
            || !matches_any(&selector.conversations, conversation)
        {
            continue;
        }
        limit = Some(limit.map_or_else(
            || limit_in(hot),
            |limit| limit.most_permissive(limit_in(hot)),
        ));
        if matches_every_event(selector) {
            break;
        }
    }
    limit.expect("the last policy is the built-in one, which matches all and has a hot tier")
}

/// The strictest age and number of any policy: a conversation within both needs no trim.
pub(crate) fn strictest_limit(rules: &RuleSet) -> RetentionLimit {
    let hot_rules = || rules.in_force().filter_map(hot_rule).map(|(_, hot)| hot);
    RetentionLimit {
        max_age: hot_rules().map(Hot::max_age).min().unwrap_or_default(),
        max_events: hot_rules()
            .filter_map(|hot| hot.max_events_per_stream)
            .min(),
    }
}

/// `policy` with its rule for the hot tier; `None` when it has none.
fn hot_rule(policy: &Policy) -> Option<(&Policy, &Hot)> {
    Some((policy, policy.hot.as_ref()?))
}

fn limit_in(hot: &Hot) -> RetentionLimit {
    RetentionLimit {
        max_age: hot.max_age(),
        max_events: hot.max_events_per_stream,
    }
}

impl RetentionLimit {
    fn most_permissive(self, other: Self) -> Self {
        let both = self.max_events.zip(other.max_events);
        Self {
            max_age: self.max_age.max(other.max_age),
            max_events: both.map(|(one, other)| one.max(other)),
        }
    }
}

fn matches_every_event(selector: &Selector) -> bool {
    selector.event_types.is_empty()
        && selector.match_labels.is_empty()
        && selector.match_expressions.is_empty()
}

/// An empty list matches everything.
fn matches_any(globs: &[String], text: &str) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob_matches(glob, text))
}

#[cfg(test)]
mod tests;
