//! The four conditions of a policy, each with a reason and a message. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_api::{Conflict, Enforcement, RetentionPolicy, Status, condition as c};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::observations::Observations;

/// The services that must follow the rules before `Programmed` is true. The archiver is not among
/// them: it reads the rules at the start of every run.
const FOLLOWERS: [&str; 3] = ["compactor", "hot-writer", "query"];

/// Returns the conditions of a valid policy, suspended or not.
pub(crate) fn for_policy(
    policy: &RetentionPolicy,
    conflicts: &[Conflict],
    status: &Status,
    observed: &Observations,
) -> Vec<Condition> {
    let old = policy.status.as_ref().map(|old| old.conditions.as_slice());
    let mut list = ConditionList::new(
        policy.metadata.generation,
        old.unwrap_or_default(),
        observed.now,
    );
    let (reason, message) = accepted(policy, observed.min_grace);
    list.add(c::ACCEPTED, "True", reason, message);
    match conflicts.first() {
        Some(first) => {
            let message = conflict_message(policy, first);
            list.add(c::CONFLICTED, "True", c::SAME_PRIORITY, message);
        }
        None => list.add(c::CONFLICTED, "False", c::NO_OVERLAP, String::new()),
    }
    let (programmed, reason, message) = programmed(observed);
    list.add(c::PROGRAMMED, programmed, reason, message);
    let (ready, reason) = match (programmed, policy.spec.suspend, policy.spec.enforcement) {
        ("True", true, _) => ("True", c::SUSPENDED),
        ("True", false, Enforcement::DryRun) => ("True", c::DRY_RUN),
        ("True", false, Enforcement::Enforce) => ("True", c::ENFORCING),
        _ => ("False", c::NOT_PROGRAMMED),
    };
    list.add(
        c::READY,
        ready,
        reason,
        ready_message(policy, status, observed),
    );
    list.conditions
}

/// The reason and the message of `Accepted` of a valid policy.
fn accepted(policy: &RetentionPolicy, min_grace: Duration) -> (&'static str, String) {
    if k8s_api::grace_period(policy) >= min_grace {
        return (c::VALID, String::new());
    }
    let message = format!(
        "spec.deletionGracePeriod is {}: {} applies, the operator's --min-grace",
        policy.spec.deletion_grace_period,
        humantime::format_duration(min_grace)
    );
    (c::GRACE_PERIOD_RAISED, message)
}

fn conflict_message(policy: &RetentionPolicy, other: &Conflict) -> String {
    let priority = policy.spec.priority;
    let (name, field) = (format!("{}/{}", other.namespace, other.name), &other.field);
    let winner = if other.winner {
        name.clone()
    } else {
        policy.full_name()
    };
    format!(
        "{name} has priority {priority} too, may match the same events, and says otherwise in \
         {field}; {winner} wins: give one of them another priority or another selector"
    )
}

fn programmed(observed: &Observations) -> (&'static str, &'static str, String) {
    let acks = match &observed.acks {
        Ok(acks) => acks,
        Err(why) => return ("Unknown", c::LOG_UNREACHABLE, why.clone()),
    };
    let follows = |name: &&&str| {
        acks.iter()
            .any(|(own, hash)| own == *name && *hash == observed.hash)
    };
    let behind: Vec<&str> = FOLLOWERS
        .iter()
        .filter(|name| !follows(name))
        .copied()
        .collect();
    let (all, hash) = (FOLLOWERS.len(), short(&observed.hash));
    if behind.is_empty() {
        return (
            "True",
            c::ALL_IN_SYNC,
            format!("{all}/{all} services run {hash}"),
        );
    }
    let message = format!(
        "{}/{all} services run {hash}, {} not yet",
        all - behind.len(),
        behind.join(" and ")
    );
    ("False", c::WAITING, message)
}

fn ready_message(policy: &RetentionPolicy, status: &Status, observed: &Observations) -> String {
    let mut parts = Vec::new();
    if policy.spec.suspend {
        parts.push("suspended: takes no part".to_owned());
    } else if let Some(conversations) = status.matched_conversations {
        parts.push(format!("{conversations} conversations"));
    }
    if let Some(first) = status
        .pending_shortening
        .iter()
        .min_by_key(|own| own.until.as_ref().map(|t| t.0))
    {
        let until = first.until.as_ref().map(|time| time.0.to_string());
        let until = until.unwrap_or_default();
        parts.push(format!(
            "{} keeps {} until {until}, then {}",
            first.tier, first.from, first.to
        ));
    }
    if let Some(Err(why)) = &observed.figures {
        parts.push(format!("the figures are old or missing: {why}"));
    }
    parts.join("; ")
}

/// A prefix of `sha256:…` that is long enough to distinguish two hashes.
fn short(hash: &str) -> &str {
    hash.get(..19).unwrap_or(hash)
}

/// Collects the new conditions of a policy.
pub(crate) struct ConditionList<'a> {
    generation: Option<i64>,
    old: &'a [Condition],
    now: Timestamp,
    pub(crate) conditions: Vec<Condition>,
}

impl<'a> ConditionList<'a> {
    pub(crate) fn new(generation: Option<i64>, old: &'a [Condition], now: Timestamp) -> Self {
        Self {
            generation,
            old,
            now,
            conditions: Vec::new(),
        }
    }

    /// Adds a condition; its transition time changes only when its status does.
    pub(crate) fn add(&mut self, type_: &str, status: &str, reason: &str, message: String) {
        let mut old = self.old.iter();
        let since = old.find(|old| old.type_ == type_ && old.status == status);
        self.conditions.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: self.generation,
            last_transition_time: since
                .map_or(Time(self.now), |old| old.last_transition_time.clone()),
        });
    }
}
