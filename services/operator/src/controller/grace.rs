//! When a change may take effect: what would be kept less long waits for the grace period of the
//! policy that changed, all else holds at once. Pure, and the state is all it remembers.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_api::RetentionPolicy;
use retention::{RuleSet, Shortening, shortenings};
use serde::{Deserialize, Serialize};

/// What the services were told last, and what of it waits. Kept in the ConfigMap, so that an
/// operator that was down goes on where another one stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// The policies as they were when they were last told, without their status.
    pub(crate) applied: Vec<RetentionPolicy>,
    pub(crate) held: Vec<Held>,
}

/// A policy that changed and whose former self holds on where it keeps more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// `namespace/name`.
    pub(crate) policy: String,
    /// `None` when there was no such policy.
    pub(crate) before: Option<RetentionPolicy>,
    pub(crate) until: Timestamp,
}

/// A shortening that waits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pending {
    pub(crate) what: Shortening,
    pub(crate) until: Timestamp,
}

impl State {
    /// What the services are told.
    pub(crate) fn rules(&self) -> RuleSet {
        let rules = k8s_api::rules(&self.applied);
        match self.held.is_empty() {
            true => rules,
            false => rules.not_shorter_than(self.before()),
        }
    }

    fn before(&self) -> RuleSet {
        k8s_api::rules(&undone(&self.applied, &self.held))
    }

    /// What will be shorter, and when.
    pub(crate) fn pending(&self) -> Vec<Pending> {
        let found = shortenings(&self.before(), &k8s_api::rules(&self.applied));
        let due = |what: &Shortening| {
            let touches = |held: &&Held| held.policy == what.from || held.policy == what.to;
            let own = self
                .held
                .iter()
                .filter(touches)
                .map(|held| held.until)
                .max();
            own.or_else(|| self.held.iter().map(|held| held.until).max())
        };
        let pending = found.into_iter().filter_map(|what| {
            let until = due(&what)?;
            Some(Pending { what, until })
        });
        pending.collect()
    }

    /// When something that waits is due next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.held.iter().map(|held| held.until).min()
    }

    /// The state after `policies`, all valid, have become what is wanted.
    pub(crate) fn next(&self, policies: &[RetentionPolicy], now: Timestamp) -> Self {
        let applied: Vec<RetentionPolicy> = policies.iter().map(trimmed).collect();
        let mut held: Vec<Held> = self.held.clone();
        held.retain(|held| held.until > now);
        for name in changed(&self.applied, &applied) {
            self.hold(&mut held, &applied, &name, now);
        }
        held.retain(|held| find(&applied, &held.policy) != held.before.as_ref());
        let after = k8s_api::rules(&applied);
        let before = k8s_api::rules(&undone(&applied, &held));
        if shortenings(&before, &after).is_empty() {
            held.clear();
        }
        Self { applied, held }
    }

    /// Takes note that the policy `name` has changed.
    fn hold(&self, held: &mut Vec<Held>, applied: &[RetentionPolicy], name: &str, now: Timestamp) {
        let (was, is) = (find(&self.applied, name), find(applied, name));
        let grace = is.or(was).map(k8s_api::grace_period).unwrap_or_default();
        if grace.is_zero() {
            held.retain(|held| held.policy != name);
            return;
        }
        // A grace of centuries is as good as one that a timestamp has no form for.
        let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
        let until = now.checked_add(grace).unwrap_or(Timestamp::MAX);
        let change = Held {
            policy: name.to_owned(),
            before: was.cloned(),
            until,
        };
        let Some(earlier) = held.iter_mut().find(|held| held.policy == name) else {
            held.push(change);
            return;
        };
        let without = undone(applied, std::slice::from_ref(&change));
        let shorter = shortenings(&k8s_api::rules(&without), &k8s_api::rules(applied));
        if !shorter.is_empty() {
            earlier.until = earlier.until.max(until);
        }
    }
}

/// `policies` with those that are held as they were before.
fn undone(policies: &[RetentionPolicy], held: &[Held]) -> Vec<RetentionPolicy> {
    let is_held = |policy: &&RetentionPolicy| {
        let name = policy.full_name();
        held.iter().any(|held| held.policy == name)
    };
    let rest = policies.iter().filter(|policy| !is_held(policy)).cloned();
    rest.chain(held.iter().filter_map(|held| held.before.clone()))
        .collect()
}

fn changed(was: &[RetentionPolicy], is: &[RetentionPolicy]) -> BTreeSet<String> {
    let names = was.iter().chain(is).map(RetentionPolicy::full_name);
    names
        .filter(|name| find(was, name) != find(is, name))
        .collect()
}

fn find<'a>(policies: &'a [RetentionPolicy], name: &str) -> Option<&'a RetentionPolicy> {
    policies.iter().find(|policy| policy.full_name() == name)
}

/// What decides: the name, the age, and the spec.
fn trimmed(policy: &RetentionPolicy) -> RetentionPolicy {
    let mut trimmed = RetentionPolicy::new(policy.name(), policy.spec.clone());
    trimmed.metadata.namespace = Some(policy.namespace().to_owned());
    trimmed.metadata.creation_timestamp = policy.metadata.creation_timestamp.clone();
    trimmed
}

#[cfg(test)]
mod tests;
