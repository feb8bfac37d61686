//! Resolution: the policy that decides about an event, per tier.

use std::{borrow::Cow, time::Duration};

use crate::{
    class::Class,
    glob::glob_matches,
    most_permissive::MostPermissive,
    rules::{Cold, Expression, Hot, Operator, Policy, RuleSet, Selector, Warm},
};

/// The attributes of an event by which policies select.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub tenant: &'a str,
    pub conversation: &'a str,
    pub event_type: &'a str,
    pub labels: &'a dyn SubjectLabels,
}

/// Access to the labels of an event: the top-level members of its metadata.
pub trait SubjectLabels: std::fmt::Debug {
    /// The value of label `key` as text; `None` if there is none. A string is used as it is, numbers and
    /// booleans as JSON writes them; objects, arrays and null are not labels.
    fn label(&self, key: &str) -> Option<String>;
}

/// No labels.
impl SubjectLabels for () {
    fn label(&self, _key: &str) -> Option<String> {
        None
    }
}

/// The labels in the text of the metadata; an empty or damaged text has none.
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

/// The rules of one tier and the policy that they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct TierSource<'a, T: Clone> {
    pub policy: &'a Policy,
    pub rules: Cow<'a, T>,
}

/// The rules in force for one event, per tier.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective<'a> {
    pub hot: TierSource<'a, Hot>,
    pub warm: TierSource<'a, Warm>,
    pub cold: TierSource<'a, Cold>,
}

impl Effective<'_> {
    /// The retention class of the event: rows of one slice have the same.
    #[must_use]
    pub fn class(&self) -> Class {
        Class::new(&self.warm.rules, &self.cold.rules)
    }

    /// The age at which the event expires from every tier; `None` is never.
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
    /// Resolves the rules for one event: per tier, those of the first policy that matches and has that
    /// tier, or the most permissive of them and those in force before a change that is not yet due.
    #[must_use]
    pub fn effective(&self, subject: &Subject<'_>) -> Effective<'_> {
        let mut lists = self
            .generations()
            .map(|policies| first_matches(policies, subject));
        let now = lists.next().expect("a rule set has policies");
        lists.fold(now, |now, before| Effective {
            hot: most_permissive(now.hot, before.hot),
            warm: most_permissive(now.warm, before.warm),
            cold: most_permissive(now.cold, before.cold),
        })
    }

    /// The age that every event reaches at least before it expires from every tier; `None` when no event ever
    /// does.
    #[must_use]
    pub fn least_age(&self) -> Option<Duration> {
        let warm = || self.in_force().filter_map(|policy| policy.warm.as_ref());
        let least_warm = || warm().map(Warm::max_age).min();
        let colds = self.in_force().filter_map(|policy| policy.cold.as_ref());
        let ages = colds.filter_map(|cold| match cold.disabled {
            true => least_warm(),
            false => cold.max_age(),
        });
        ages.min()
    }

    /// Returns true if any policy in force uses labels; if not, callers need not read them.
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

/// The rules of the first policy of the list that matches, per tier.
fn first_matches<'a>(policies: &'a [Policy], subject: &Subject<'_>) -> Effective<'a> {
    let matches = |policy: &&Policy| !policy.dry_run && policy.selector.matches(subject);
    let matching: Vec<&Policy> = policies.iter().filter(matches).collect();
    Effective {
        hot: first(&matching, |policy| policy.hot.as_ref()),
        warm: first(&matching, |policy| policy.warm.as_ref()),
        cold: first(&matching, |policy| policy.cold.as_ref()),
    }
}

/// The rules of the first policy that has the tier.
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

/// The more permissive of two rules of one tier. If neither keeps everything that the other keeps, the
/// combination of both, under the name of the policy before the change.
fn most_permissive<'a, T: MostPermissive>(
    now: TierSource<'a, T>,
    before: TierSource<'a, T>,
) -> TierSource<'a, T> {
    if now.rules == before.rules {
        return now;
    }
    let most_permissive = now.rules.most_permissive(&before.rules);
    if most_permissive == *now.rules {
        return now;
    }
    TierSource {
        policy: before.policy,
        rules: Cow::Owned(most_permissive),
    }
}

impl Selector {
    /// Returns true if an event with these attributes is selected.
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

/// Returns true if any of the globs matches, or the list is empty.
pub(crate) fn any_glob(globs: &[String], text: &str) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob_matches(glob, text))
}
