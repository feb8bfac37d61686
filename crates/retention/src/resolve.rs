//! Which policy holds for an event, per tier.

use std::{borrow::Cow, time::Duration};

use crate::{
    class::Class,
    glob::glob_matches,
    most_permissive::MostPermissive,
    rules::{Cold, Expression, Hot, Operator, Policy, RuleSet, Selector, Warm},
};

/// What a policy looks at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub tenant: &'a str,
    pub conversation: &'a str,
    pub event_type: &'a str,
    pub labels: &'a dyn SubjectLabels,
}

/// The attributes of an event: the top-level members of its metadata.
pub trait SubjectLabels: std::fmt::Debug {
    /// The value as text; `None` when there is none. Texts are themselves, numbers and booleans
    /// as JSON writes them; objects, arrays and null are no labels.
    fn label(&self, key: &str) -> Option<String>;
}

/// No labels.
impl SubjectLabels for () {
    fn label(&self, _key: &str) -> Option<String> {
        None
    }
}

/// The labels in a metadata text; an empty or damaged text has none.
impl SubjectLabels for &str {
    fn label(&self, key: &str) -> Option<String> {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(self).ok()?;
        match object.get(key)? {
            serde_json::Value::String(text) => Some(text.clone()),
            value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => {
                Some(value.to_string())
            }
            _ => None,
        }
    }
}

/// One tier's rules and the policy that they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct TierSource<'a, T: Clone> {
    pub policy: &'a Policy,
    pub rules: Cow<'a, T>,
}

/// What holds for one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective<'a> {
    pub hot: TierSource<'a, Hot>,
    pub warm: TierSource<'a, Warm>,
    pub cold: TierSource<'a, Cold>,
}

impl Effective<'_> {
    /// What rows must share to lie in one slice.
    #[must_use]
    pub fn class(&self) -> Class {
        Class::new(&self.warm.rules, &self.cold.rules)
    }

    /// The age at which the event is gone from every tier; `None` is never.
    #[must_use]
    pub fn ends_after(&self) -> Option<Duration> {
        let warm = self.warm.rules.max_age();
        if self.cold.rules.disabled {
            return Some(warm);
        }
        Some(self.cold.rules.max_age()?.max(warm))
    }
}

impl RuleSet {
    /// The rules for one event: per tier, the first policy that matches and has that tier.
    #[must_use]
    pub fn effective(&self, subject: &Subject<'_>) -> Effective<'_> {
        let mut lists = self
            .generations()
            .map(|policies| of_list(policies, subject));
        let now = lists.next().expect("a rule set has policies");
        lists.fold(now, |now, before| Effective {
            hot: most_permissive(now.hot, before.hot),
            warm: most_permissive(now.warm, before.warm),
            cold: most_permissive(now.cold, before.cold),
        })
    }

    /// Whether any policy looks at labels, so that callers may skip reading them.
    #[must_use]
    pub fn uses_labels(&self) -> bool {
        self.in_force().any(|policy| {
            let selector = &policy.selector;
            let sampling = policy.cold.as_ref().and_then(|cold| cold.sampling.as_ref());
            !selector.match_labels.is_empty()
                || !selector.match_expressions.is_empty()
                || sampling.is_some_and(|s| s.rules.iter().any(|r| !r.match_labels.is_empty()))
        })
    }
}

fn of_list<'a>(policies: &'a [Policy], subject: &Subject<'_>) -> Effective<'a> {
    let matches = |policy: &&Policy| !policy.dry_run && policy.selector.matches(subject);
    let matching: Vec<&Policy> = policies.iter().filter(matches).collect();
    Effective {
        hot: first(&matching, |policy| policy.hot.as_ref()),
        warm: first(&matching, |policy| policy.warm.as_ref()),
        cold: first(&matching, |policy| policy.cold.as_ref()),
    }
}

fn first<'a, T: Clone>(
    policies: &[&'a Policy],
    tier: impl Fn(&'a Policy) -> Option<&'a T>,
) -> TierSource<'a, T> {
    policies
        .iter()
        .find_map(|policy| {
            let rules = Cow::Borrowed(tier(policy)?);
            Some(TierSource { policy, rules })
        })
        .expect("a rule set ends with the built-in policy, which matches all and has all tiers")
}

fn most_permissive<'a, T: MostPermissive>(
    now: TierSource<'a, T>,
    before: TierSource<'a, T>,
) -> TierSource<'a, T> {
    if now.rules == before.rules {
        return now;
    }
    let both = now.rules.most_permissive(&before.rules);
    if both == *now.rules {
        return now;
    }
    TierSource {
        policy: before.policy,
        rules: Cow::Owned(both),
    }
}

impl Selector {
    /// Whether an event with these attributes is selected.
    #[must_use]
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        any_glob(&self.tenants, subject.tenant)
            && any_glob(&self.conversations, subject.conversation)
            && any_glob(&self.event_types, subject.event_type)
            && self.match_labels.iter().all(|(key, value)| {
                subject
                    .labels
                    .label(key)
                    .is_some_and(|label| label == *value)
            })
            && self
                .match_expressions
                .iter()
                .all(|expression| expression.holds(subject))
    }
}

impl Expression {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        let label = subject.labels.label(&self.key);
        let listed = label
            .as_ref()
            .is_some_and(|label| self.values.contains(label));
        match self.operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
        }
    }
}

/// An empty list matches everything.
pub(crate) fn any_glob(globs: &[String], text: &str) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob_matches(glob, text))
}
