//! Computes the status of a policy from what was decided and observed in a pass. Pure.

use jiff::Timestamp;
use k8s_api::{
    Component, Conflict, EffectiveAges, Enforcement, Preview, RetentionPolicy, Shortening, Status,
    TierPreview, TierStatus, condition as c,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use retention::RuleSet;

use super::{
    conditions::{self, ConditionList},
    describe,
    figures::{Figures, TierTotals},
    observations::Observations,
};

const TIERS: [&str; 3] = ["hot", "warm", "cold"];

/// Returns the status of a valid policy, suspended or not.
pub(crate) fn accepted(
    policy: &RetentionPolicy,
    conflicts: Vec<Conflict>,
    observed: &Observations,
) -> Status {
    let name = policy.full_name();
    let figures = observed
        .figures
        .as_ref()
        .and_then(|figures| figures.as_ref().ok());
    let old = policy.status.as_ref();
    let mut status = Status {
        observed_generation: policy.metadata.generation,
        config_hash: Some(observed.hash.clone()),
        effective: Some(effective(policy, &observed.rules)),
        components: components(observed),
        pending_shortening: pending(&name, observed),
        archive: (observed.archive.decided_by.as_ref() == Some(&name))
            .then(|| observed.archive.clone()),
        // The last figures stay until they are counted again.
        matched_conversations: old.and_then(|old| old.matched_conversations),
        tiers: old.map(|old| old.tiers.clone()).unwrap_or_default(),
        preview: old.and_then(|old| old.preview.clone()),
        ..Status::default()
    };
    if let Some(figures) = figures {
        status.matched_conversations = figures.conversations.get(&name).copied();
        status.tiers = tiers(&name, figures, observed);
        status.preview = figures
            .previews
            .get(&name)
            .map(|sums| preview(sums, figures.at));
    }
    if policy.spec.enforcement == Enforcement::Enforce {
        status.preview = None;
    }
    status.conditions = conditions::for_policy(policy, &conflicts, &status, observed);
    status.conflicts_with = conflicts;
    status.last_enforced_time = last_enforced(policy, &status, observed.now);
    status
}

/// Returns the status of a policy that is ignored until its spec is corrected.
pub(crate) fn refused(
    generation: Option<i64>,
    old: &[Condition],
    (reason, message): (&str, String),
    now: Timestamp,
) -> Status {
    let mut list = ConditionList::new(generation, old, now);
    list.add(c::ACCEPTED, "False", reason, message);
    list.add(
        c::READY,
        "False",
        c::NOT_ACCEPTED,
        "see Accepted".to_owned(),
    );
    Status {
        observed_generation: generation,
        conditions: list.conditions,
        ..Status::default()
    }
}

fn effective(policy: &RetentionPolicy, rules: &RuleSet) -> EffectiveAges {
    let own = policy.full_name();
    let from = rules.policies.iter().position(|other| other.name == own);
    let rest = &rules.policies[from.unwrap_or(0)..];
    let mut ages = EffectiveAges::default();
    let seconds = |ms: u64| i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    // For a tier that this policy leaves out, its events inherit from the next policy that may match
    // them.
    let selector = k8s_api::selector_of(policy);
    for (index, tier) in TIERS.iter().enumerate() {
        let has = |other: &&retention::Policy| match index {
            0 => other.hot.is_some(),
            1 => other.warm.is_some(),
            _ => other.cold.is_some(),
        };
        let applies = |other: &&retention::Policy| {
            let is_enforced = !other.dry_run || other.name == own;
            has(other) && is_enforced && other.selector.may_overlap(&selector)
        };
        let Some(decides) = rest.iter().find(applies) else {
            continue;
        };
        match index {
            0 => ages.hot_seconds = decides.hot.as_ref().map_or(0, |t| seconds(t.max_age_ms)),
            1 => ages.warm_seconds = decides.warm.as_ref().map_or(0, |t| seconds(t.max_age_ms)),
            _ => {
                let age = decides.cold.as_ref().and_then(|tier| tier.max_age_ms);
                ages.cold_seconds = age.map_or(-1, seconds);
            }
        }
        if decides.name != own {
            ages.inherited_from
                .insert((*tier).to_owned(), decides.name.clone());
        }
    }
    ages
}

fn components(observed: &Observations) -> Vec<Component> {
    let known = ["archiver", "compactor", "hot-writer", "query"];
    let acks = observed.acks.iter().flatten();
    let known = acks.filter(|(name, _)| known.contains(&name.as_str()));
    let component = |(name, hash): &(String, String)| Component {
        name: name.clone(),
        config_hash: hash.clone(),
        ..Component::default()
    };
    known.map(component).collect()
}

/// The pending shortenings from or to the rules of the policy `name`.
fn pending(name: &str, observed: &Observations) -> Vec<Shortening> {
    let own = observed
        .pending
        .iter()
        .filter(|own| own.what.to == name || own.what.from == name);
    let shortenings = own.map(|own| Shortening {
        tier: own.what.tier.to_owned(),
        from: describe::tier(&observed.rules, &own.what.from, own.what.tier, true),
        to: describe::tier(&observed.rules, &own.what.to, own.what.tier, false),
        until: Some(Time(own.until)),
    });
    shortenings.collect()
}

fn tiers(name: &str, figures: &Figures, observed: &Observations) -> Vec<TierStatus> {
    let Some(totals) = figures.stored.get(name) else {
        return Vec::new();
    };
    let status = |(index, sum): (usize, &TierTotals)| TierStatus {
        name: TIERS[index].to_owned(),
        events: Some(sum.events),
        bytes: Some(sum.bytes),
        oldest_event_time: sum
            .oldest_us
            .and_then(|us| Timestamp::from_microsecond(us).ok())
            .map(Time),
        overdue_seconds: Some(overdue(index, observed)),
    };
    totals.iter().enumerate().map(status).collect()
}

/// Seconds by which the tier's oldest event exceeds the longest age of any rule in force; 0 when it
/// does not, or when either is unknown.
fn overdue(tier: usize, observed: &Observations) -> i64 {
    let ages = observed.rules.in_force().filter_map(|policy| match tier {
        0 => policy.hot.as_ref().map(|hot| Some(hot.max_age_ms)),
        1 => policy.warm.as_ref().map(|warm| Some(warm.max_age_ms)),
        _ => policy.cold.as_ref().map(|cold| cold.max_age_ms),
    });
    let longest = ages.reduce(|one, other| Some(one?.max(other?))).flatten();
    let longest = longest.and_then(|ms| i64::try_from(ms / 1000).ok());
    let age = observed.oldest[tier].map(|oldest| observed.now.as_second() - oldest.as_second());
    age.zip(longest)
        .map_or(0, |(age, longest)| (age - longest).max(0))
}

fn preview(sums: &[TierTotals; 3], at: Timestamp) -> Preview {
    let tiers = sums.iter().zip(TIERS).map(|(sum, name)| TierPreview {
        name: name.to_owned(),
        events: sum.events,
        bytes: sum.bytes,
        files: None,
    });
    Preview {
        // Events that leave hot or warm remain in cold; only those that leave cold are deleted.
        events_to_delete: sums[2].events,
        bytes_to_delete: sums[2].bytes,
        computed_at: Some(Time(at)),
        tiers: tiers.collect(),
    }
}

fn last_enforced(policy: &RetentionPolicy, status: &Status, now: Timestamp) -> Option<Time> {
    let old = policy.status.as_ref();
    let before = old.and_then(|old| old.last_enforced_time.clone());
    let mut conditions = status.conditions.iter();
    if !conditions.any(|own| own.type_ == c::READY && own.reason == c::ENFORCING) {
        return before;
    }
    let same = old.is_some_and(|old| old.config_hash == status.config_hash);
    before.filter(|_| same).or(Some(Time(now)))
}
