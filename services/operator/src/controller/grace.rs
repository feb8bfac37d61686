//! Grace periods: a change under which something is kept less long waits for the grace period of the
//! policy that changed; every other change takes effect at once. Pure; all memory is in
//! [`GraceState`].

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_api::RetentionPolicy;
use retention::{RuleSet, Shortening, shortenings};
use serde::{Deserialize, Serialize};

/// The policies published last, and the changes among them that wait. Stored in the ConfigMap, so that
/// a restarted operator, or another replica, continues from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct GraceState {
    /// The policies as they were when they were published last, without their status.
    pub(crate) applied: Vec<RetentionPolicy>,
    #[serde(rename = "held")]
    pub(crate) delayed: Vec<DelayedChange>,
}

/// A change of a policy in its grace period: where the former version keeps longer, it still applies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DelayedChange {
    /// `namespace/name`.
    pub(crate) policy: String,
    /// The former version; `None` when the policy is new.
    pub(crate) before: Option<RetentionPolicy>,
    pub(crate) until: Timestamp,
}

/// A shortening that waits for its grace period.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PendingShortening {
    pub(crate) what: Shortening,
    pub(crate) until: Timestamp,
}

impl GraceState {
    /// Returns the rules to publish: those of the policies, but nothing shorter than before where a
    /// change waits.
    pub(crate) fn rules(&self) -> RuleSet {
        let rules = k8s_api::rules(&self.applied);
        match self.delayed.is_empty() {
            true => rules,
            false => rules.not_shorter_than(self.before()),
        }
    }

    fn before(&self) -> RuleSet {
        k8s_api::rules(&undone(&self.applied, &self.delayed))
    }

    /// Returns the shortenings that wait, and until when.
    pub(crate) fn pending(&self) -> Vec<PendingShortening> {
        let shortenings = shortenings(&self.before(), &k8s_api::rules(&self.applied));
        let due = |what: &Shortening| {
            let concerns =
                |change: &&DelayedChange| change.policy == what.from || change.policy == what.to;
            let own = self
                .delayed
                .iter()
                .filter(concerns)
                .map(|change| change.until)
                .max();
            own.or_else(|| self.delayed.iter().map(|change| change.until).max())
        };
        let pending = shortenings.into_iter().filter_map(|what| {
            let until = due(&what)?;
            Some(PendingShortening { what, until })
        });
        pending.collect()
    }

    /// Returns when the next grace period ends.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.delayed.iter().map(|change| change.until).min()
    }

    /// Returns the state after `policies`, all valid, replace those of this state at `now`. A policy
    /// cannot ask for a shorter grace period than `min_grace`.
    pub(crate) fn next(
        &self,
        policies: &[RetentionPolicy],
        min_grace: Duration,
        now: Timestamp,
    ) -> Self {
        let applied: Vec<RetentionPolicy> = policies.iter().map(trimmed).collect();
        let mut delayed: Vec<DelayedChange> = self.delayed.clone();
        delayed.retain(|change| change.until > now);
        for name in changed(&self.applied, &applied) {
            let policy = find(&applied, &name).or(find(&self.applied, &name));
            let grace = policy.map(k8s_api::grace_period).unwrap_or_default();
            self.delay(&mut delayed, &applied, &name, grace.max(min_grace), now);
        }
        // A change that was reverted needs no grace period.
        delayed.retain(|change| find(&applied, &change.policy) != change.before.as_ref());
        let after = k8s_api::rules(&applied);
        let before = k8s_api::rules(&undone(&applied, &delayed));
        if shortenings(&before, &after).is_empty() {
            delayed.clear();
        }
        Self { applied, delayed }
    }

    /// Adds the change of the policy `name` to `delayed`, or extends the one that waits already.
    fn delay(
        &self,
        delayed: &mut Vec<DelayedChange>,
        applied: &[RetentionPolicy],
        name: &str,
        grace: Duration,
        now: Timestamp,
    ) {
        if grace.is_zero() {
            delayed.retain(|change| change.policy != name);
            return;
        }
        // A grace period past the range of timestamps ends at the last one.
        let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
        let until = now.checked_add(grace).unwrap_or(Timestamp::MAX);
        let change = DelayedChange {
            policy: name.to_owned(),
            before: find(&self.applied, name).cloned(),
            until,
        };
        let Some(earlier) = delayed.iter_mut().find(|other| other.policy == name) else {
            delayed.push(change);
            return;
        };
        let without = undone(applied, std::slice::from_ref(&change));
        let shorter = shortenings(&k8s_api::rules(&without), &k8s_api::rules(applied));
        if !shorter.is_empty() {
            earlier.until = earlier.until.max(until);
        }
    }
}

/// Returns `policies` without the delayed changes.
fn undone(policies: &[RetentionPolicy], delayed: &[DelayedChange]) -> Vec<RetentionPolicy> {
    let is_delayed = |policy: &&RetentionPolicy| {
        let name = policy.full_name();
        delayed.iter().any(|change| change.policy == name)
    };
    let rest = policies
        .iter()
        .filter(|policy| !is_delayed(policy))
        .cloned();
    rest.chain(delayed.iter().filter_map(|change| change.before.clone()))
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

/// Returns the parts of a policy that decide: its name, its creation time (which ranks equal
/// policies), and its spec.
fn trimmed(policy: &RetentionPolicy) -> RetentionPolicy {
    let mut trimmed = RetentionPolicy::new(policy.name(), policy.spec.clone());
    trimmed.metadata.namespace = Some(policy.namespace().to_owned());
    trimmed.metadata.creation_timestamp = policy.metadata.creation_timestamp.clone();
    trimmed
}

#[cfg(test)]
mod tests;
