//! Compilation: policies to the one rule set that all services follow, the highest-ranking first.

use std::{cmp::Reverse, time::Duration};

use k8s_openapi::jiff::Timestamp;
use retention::{Policy, RuleSet};

use crate::{
    error::{Error, Problem},
    quantity,
    retention_policy::{
        Action, Cold, DefaultAction, Enforcement, Expression, HashKey, Hot, Operator,
        RetentionPolicy, Rule, Sample, Sampling, Selector, Strategy, Warm,
    },
    validate::validate,
};

const HOUR_MS: u64 = 3_600_000;

/// Validates `policies` and compiles those that are not suspended.
///
/// They rank by higher priority; more specific selector (conversations before tenants before event types
/// before labels); earlier creation; name.
///
/// # Errors
/// [`Error::Invalid`] with every broken rule of every policy: fix the policies.
pub fn compile(policies: &[RetentionPolicy]) -> Result<RuleSet, Error> {
    let mut problems: Vec<Problem> = policies.iter().flat_map(violations).collect();
    problems.extend(duplicates(policies));
    let active: Vec<&RetentionPolicy> = policies.iter().filter(|p| !p.spec.suspend).collect();
    problems.extend(rival_catch_alls(&active));
    if !problems.is_empty() {
        return Err(Error::Invalid(problems));
    }
    Ok(rules(policies))
}

/// Compiles those of `policies` that are not suspended. Each must be valid and have a name of its own.
#[must_use]
pub fn rules(policies: &[RetentionPolicy]) -> RuleSet {
    RuleSet::new(ranked(policies).into_iter().map(compiled).collect())
}

/// The policies that are not suspended, the highest-ranking first (see [`compile`]).
#[must_use]
pub fn ranked(policies: &[RetentionPolicy]) -> Vec<&RetentionPolicy> {
    let mut active: Vec<&RetentionPolicy> = policies.iter().filter(|p| !p.spec.suspend).collect();
    active.sort_by_cached_key(|policy| rank(policy));
    active
}

/// The grace period of a valid `policy`: the wait after a shortening before anything is deleted.
#[must_use]
pub fn grace_period(policy: &RetentionPolicy) -> Duration {
    let ms = quantity::age_ms(&policy.spec.deletion_grace_period, 9);
    Duration::from_millis(ms.unwrap_or_default())
}

/// The compiled selector of `policy`.
#[must_use]
pub fn selector_of(policy: &RetentionPolicy) -> retention::Selector {
    selector(&policy.spec.selector)
}

fn violations(policy: &RetentionPolicy) -> impl Iterator<Item = Problem> {
    validate(policy).into_iter().map(|violation| Problem {
        policy: policy.full_name(),
        message: violation.to_string(),
    })
}

fn duplicates(policies: &[RetentionPolicy]) -> impl Iterator<Item = Problem> {
    policies.iter().enumerate().filter_map(|(index, policy)| {
        let name = policy.full_name();
        let earlier = policies[..index]
            .iter()
            .any(|other| other.full_name() == name);
        earlier.then(|| Problem {
            policy: name,
            message: "is there twice: give each policy a name of its own".to_owned(),
        })
    })
}

/// Problems of policies that match every event and have the priority of another such policy.
fn rival_catch_alls(active: &[&RetentionPolicy]) -> Vec<Problem> {
    let catch_alls: Vec<_> = active
        .iter()
        .filter(|policy| policy.spec.selector == Selector::default())
        .collect();
    let rivals = catch_alls.iter().enumerate().filter_map(|(index, policy)| {
        let priority = policy.spec.priority;
        let rival = catch_alls[..index]
            .iter()
            .find(|other| other.spec.priority == priority)?;
        Some(Problem {
            policy: policy.full_name(),
            message: format!(
                "matches every event at priority {priority}, and so does {}: give one of them \
                 another priority or a selector",
                rival.full_name()
            ),
        })
    });
    rivals.collect()
}

/// The sort key of a policy; the smallest ranks highest.
type Rank = (Reverse<i32>, [Reverse<bool>; 4], Option<Timestamp>, String);

fn rank(policy: &RetentionPolicy) -> impl Ord + use<> {
    let selector = &policy.spec.selector;
    let labels = !selector.match_labels.is_empty() || !selector.match_expressions.is_empty();
    let created = policy
        .metadata
        .creation_timestamp
        .clone()
        .map(|time| time.0);
    let rank: Rank = (
        Reverse(policy.spec.priority),
        [
            Reverse(!selector.conversations.is_empty()),
            Reverse(!selector.tenants.is_empty()),
            Reverse(!selector.event_types.is_empty()),
            Reverse(labels),
        ],
        created,
        policy.full_name(),
    );
    // A policy from a file has no creation time and counts as the youngest.
    (rank.0, rank.1, rank.2.is_none(), rank.2, rank.3)
}

fn compiled(policy: &RetentionPolicy) -> Policy {
    let (name, spec) = (policy.full_name(), &policy.spec);
    Policy {
        priority: spec.priority,
        dry_run: spec.enforcement == Enforcement::DryRun,
        selector: selector(&spec.selector),
        hot: spec.tiers.hot.as_ref().map(hot),
        warm: spec.tiers.warm.as_ref().map(warm),
        cold: spec.tiers.cold.as_ref().map(|tier| cold(tier, &name)),
        name,
    }
}

fn selector(selector: &Selector) -> retention::Selector {
    retention::Selector {
        tenants: selector.tenants.clone(),
        // The operator's stored copy of an older policy still has the old name.
        conversations: match &selector.streams {
            Some(streams) => streams.clone(),
            None => selector.conversations.clone(),
        },
        event_types: selector.event_types.clone(),
        match_labels: selector.match_labels.clone(),
        match_expressions: selector.match_expressions.iter().map(expression).collect(),
    }
}

fn expression(expression: &Expression) -> retention::Expression {
    retention::Expression {
        key: expression.key.clone(),
        operator: match expression.operator {
            Operator::In => retention::Operator::In,
            Operator::NotIn => retention::Operator::NotIn,
            Operator::Exists => retention::Operator::Exists,
            Operator::DoesNotExist => retention::Operator::DoesNotExist,
        },
        values: expression.values.clone(),
    }
}

fn age_ms(text: &str) -> u64 {
    quantity::age_ms(text, 5).expect("the age was validated")
}

fn hot(tier: &Hot) -> retention::Hot {
    retention::Hot {
        max_age_ms: age_ms(&tier.max_age),
        max_events_per_stream: tier.max_events_per_stream.map(i64::unsigned_abs),
    }
}

fn warm(tier: &Warm) -> retention::Warm {
    retention::Warm {
        max_age_ms: age_ms(&tier.max_age),
        max_bytes: tier.max_bytes.as_ref().and_then(quantity::bytes),
    }
}

fn cold(tier: &Cold, salt: &str) -> retention::Cold {
    retention::Cold {
        max_age_ms: (tier.max_age != "Forever").then(|| age_ms(&tier.max_age)),
        disabled: tier.disabled,
        sampling: tier.sampling.as_ref().map(|rules| sampling(rules, salt)),
    }
}

fn sampling(sampling: &Sampling, salt: &str) -> retention::Sampling {
    retention::Sampling {
        salt: salt.to_owned(),
        hash_key: match sampling.hash_key {
            HashKey::Event => retention::HashKey::Event,
            HashKey::Task => retention::HashKey::Task,
            HashKey::Conversation => retention::HashKey::Conversation,
        },
        rules: sampling.rules.iter().map(rule).collect(),
        default_action: match sampling.default_action {
            DefaultAction::Keep => retention::Action::Keep,
            DefaultAction::Drop => retention::Action::Drop,
        },
    }
}

fn rule(rule: &Rule) -> retention::Rule {
    retention::Rule {
        name: rule.name.clone(),
        event_types: rule.event_types.clone(),
        match_labels: rule.match_labels.clone(),
        action: match rule.action {
            Action::Keep => retention::Action::Keep,
            Action::Drop => retention::Action::Drop,
            Action::Sample => retention::Action::Sample,
        },
        sample: rule.sample.as_ref().map(sample),
    }
}

fn sample(sample: &Sample) -> retention::Sample {
    let percent = |percent: Option<i32>, default| percent.map_or(default, i32::unsigned_abs);
    retention::Sample {
        strategy: match sample.strategy {
            Strategy::Fixed => retention::Strategy::Fixed {
                percent: percent(sample.percent, 100),
            },
            Strategy::LogDecay => retention::Strategy::LogDecay {
                decay_unit_ms: sample.decay_unit.as_deref().map_or(HOUR_MS, age_ms),
                min_percent: percent(sample.min_percent, 1),
            },
        },
    }
}

#[cfg(test)]
mod tests;
