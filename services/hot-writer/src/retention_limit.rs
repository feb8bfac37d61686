//! How long, and how many, the rules let a conversation stay in the hot tier. Pure.
//!
//! The tier trims whole conversations, whatever the types of their events: a conversation stays
//! as long as the longest of the policies that any of its events may fall under.

use std::time::Duration;

use retention::{Hot, Policy, RuleSet, Selector, glob_matches};

/// What a conversation may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetentionLimit {
    pub(crate) max_age: Duration,
    /// `None` is any number.
    pub(crate) max_events: Option<u64>,
}

/// What `rules` let a conversation keep.
pub(crate) fn limit_for(rules: &RuleSet, tenant: &str, conversation: &str) -> RetentionLimit {
    let lists = rules.generations();
    let limits = lists.map(|policies| limit_of(policies, tenant, conversation));
    limits
        .reduce(RetentionLimit::most_permissive)
        .expect("a rule set has policies")
}

fn limit_of(policies: &[Policy], tenant: &str, conversation: &str) -> RetentionLimit {
    let mut limit: Option<RetentionLimit> = None;
    for (policy, hot) in policies
        .iter()
        .filter(|own| !own.dry_run)
        .filter_map(hot_rule)
    {
        let selector = &policy.selector;
        if !any(&selector.tenants, tenant) || !any(&selector.conversations, conversation) {
            continue;
        }
        limit = Some(limit.map_or_else(|| own(hot), |limit| limit.most_permissive(own(hot))));
        if catches_every_event(selector) {
            break;
        }
    }
    limit.expect("the last policy is the built-in one, which matches all and has a hot tier")
}

/// The least that any policy lets stay: what is within it need not be looked at.
pub(crate) fn least(rules: &RuleSet) -> RetentionLimit {
    let all = || rules.in_force().filter_map(hot_rule).map(|(_, hot)| hot);
    RetentionLimit {
        max_age: all().map(Hot::max_age).min().unwrap_or_default(),
        max_events: all().filter_map(|hot| hot.max_events_per_stream).min(),
    }
}

fn hot_rule(policy: &Policy) -> Option<(&Policy, &Hot)> {
    Some((policy, policy.hot.as_ref()?))
}

fn own(hot: &Hot) -> RetentionLimit {
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

fn catches_every_event(selector: &Selector) -> bool {
    selector.event_types.is_empty()
        && selector.match_labels.is_empty()
        && selector.match_expressions.is_empty()
}

/// An empty list matches everything.
fn any(globs: &[String], text: &str) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob_matches(glob, text))
}

#[cfg(test)]
mod tests;
