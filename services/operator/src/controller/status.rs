//! What is said about a policy. Pure: from what was decided and seen to a status.

use jiff::Timestamp;
use k8s_api::{
    ArchiveStatus, Component, Conflict, EffectiveAges, Enforcement, Preview, RetentionPolicy,
    Shortening, Status, TierPreview, TierStatus, condition as c,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use retention::RuleSet;

use super::{
    conditions::{self, List},
    describe,
    figures::{Figures, Sum},
    grace::Pending,
};

const TIERS: [&str; 3] = ["hot", "warm", "cold"];

/// What was seen besides the policies.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// What the services were told, and its hash as they know it.
    pub(crate) rules: RuleSet,
    pub(crate) hash: String,
    /// Which service follows which rules; or why nobody knows.
    pub(crate) acks: Result<Vec<(String, String)>, String>,
    /// How old the oldest event of hot, warm and cold is.
    pub(crate) oldest: [Option<Timestamp>; 3],
    pub(crate) figures: Option<Result<Figures, String>>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) archive: ArchiveStatus,
    pub(crate) now: Timestamp,
}

/// The status of a policy that takes part, or is suspended.
pub(crate) fn accepted(policy: &RetentionPolicy, conflicts: Vec<Conflict>, seen: &Seen) -> Status {
    let name = policy.full_name();
    let figures = seen
        .figures
        .as_ref()
        .and_then(|figures| figures.as_ref().ok());
    let old = policy.status.as_ref();
    let mut status = Status {
        observed_generation: policy.metadata.generation,
        config_hash: Some(seen.hash.clone()),
        effective: Some(effective(policy, &seen.rules)),
        components: components(seen),
        pending_shortening: pending(&name, seen),
        archive: (seen.archive.decided_by.as_ref() == Some(&name)).then(|| seen.archive.clone()),
        // What was counted last stays until it is counted again.
        matched_conversations: old.and_then(|old| old.matched_conversations),
        tiers: old.map(|old| old.tiers.clone()).unwrap_or_default(),
        preview: old.and_then(|old| old.preview.clone()),
        ..Status::default()
    };
    if let Some(figures) = figures {
        status.matched_conversations = figures.conversations.get(&name).copied();
        status.tiers = tiers(&name, figures, seen);
        status.preview = figures
            .previews
            .get(&name)
            .map(|sums| preview(sums, figures.at));
    }
    if policy.spec.enforcement == Enforcement::Enforce {
        status.preview = None;
    }
    status.conditions = conditions::of(policy, &conflicts, &status, seen);
    status.conflicts_with = conflicts;
    status.last_enforced_time = last_enforced(policy, &status, seen.now);
    status
}

/// The status of a policy that takes no part until somebody edits it.
pub(crate) fn refused(
    generation: Option<i64>,
    old: &[Condition],
    (reason, message): (&str, String),
    now: Timestamp,
) -> Status {
    let mut list = List::new(generation, old, now);
    list.add(c::ACCEPTED, "False", reason, message);
    list.add(
        c::READY,
        "False",
        c::NOT_ACCEPTED,
        "correct the spec, see Accepted".to_owned(),
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
    // What the events of this policy inherit: the next that may match them.
    let selector = k8s_api::selector_of(policy);
    for (index, tier) in TIERS.iter().enumerate() {
        let has = |other: &&retention::Policy| match index {
            0 => other.hot.is_some(),
            1 => other.warm.is_some(),
            _ => other.cold.is_some(),
        };
        let takes = |other: &&retention::Policy| {
            let part = !other.dry_run || other.name == own;
            has(other) && part && other.selector.may_overlap(&selector)
        };
        let Some(decides) = rest.iter().find(takes) else {
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

fn components(seen: &Seen) -> Vec<Component> {
    let known = ["archiver", "compactor", "hot-writer", "query"];
    let acks = seen.acks.iter().flatten();
    let known = acks.filter(|(name, _)| known.contains(&name.as_str()));
    let component = |(name, hash): &(String, String)| Component {
        name: name.clone(),
        config_hash: hash.clone(),
        ..Component::default()
    };
    known.map(component).collect()
}

/// What waits because of this policy, or for what it has.
fn pending(name: &str, seen: &Seen) -> Vec<Shortening> {
    let own = seen
        .pending
        .iter()
        .filter(|own| own.what.to == name || own.what.from == name);
    let shown = own.map(|own| Shortening {
        tier: own.what.tier.to_owned(),
        from: describe::tier(&seen.rules, &own.what.from, own.what.tier, true),
        to: describe::tier(&seen.rules, &own.what.to, own.what.tier, false),
        until: Some(Time(own.until)),
    });
    shown.collect()
}

fn tiers(name: &str, figures: &Figures, seen: &Seen) -> Vec<TierStatus> {
    let Some(sums) = figures.held.get(name) else {
        return Vec::new();
    };
    let one = |(index, sum): (usize, &Sum)| TierStatus {
        name: TIERS[index].to_owned(),
        events: Some(sum.events),
        bytes: Some(sum.bytes),
        oldest_event_time: sum
            .oldest_us
            .and_then(|us| Timestamp::from_microsecond(us).ok())
            .map(Time),
        overdue_seconds: Some(overdue(index, seen)),
    };
    sums.iter().enumerate().map(one).collect()
}

/// By how much the tier's oldest event is older than any rule lets it be.
fn overdue(tier: usize, seen: &Seen) -> i64 {
    let ages = seen.rules.in_force().filter_map(|policy| match tier {
        0 => policy.hot.as_ref().map(|hot| Some(hot.max_age_ms)),
        1 => policy.warm.as_ref().map(|warm| Some(warm.max_age_ms)),
        _ => policy.cold.as_ref().map(|cold| cold.max_age_ms),
    });
    let longest = ages.reduce(|one, other| Some(one?.max(other?))).flatten();
    let longest = longest.and_then(|ms| i64::try_from(ms / 1000).ok());
    let age = seen.oldest[tier].map(|oldest| seen.now.as_second() - oldest.as_second());
    age.zip(longest)
        .map_or(0, |(age, longest)| (age - longest).max(0))
}

fn preview(sums: &[Sum; 3], at: Timestamp) -> Preview {
    let tiers = sums.iter().zip(TIERS).map(|(sum, name)| TierPreview {
        name: name.to_owned(),
        events: sum.events,
        bytes: sum.bytes,
        files: None,
    });
    Preview {
        // What leaves hot and warm is in cold; what leaves cold is gone.
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
