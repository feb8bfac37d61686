//! A tier's rule as text for statuses: `7d by isotherm/default`.

use retention::{Policy, RuleSet};

const UNITS: [(u64, &str); 4] = [
    (86_400_000, "d"),
    (3_600_000, "h"),
    (60_000, "m"),
    (1000, "s"),
];

/// Describes the rule of the policy `name` for `tier`: as it is now, or with `before` as it was before
/// a change that waits for its grace period.
pub(crate) fn tier(rules: &RuleSet, name: &str, tier: &str, before: bool) -> String {
    let list = if before {
        &rules.before
    } else {
        &rules.policies
    };
    let policy = list.iter().find(|own| own.name == name);
    let age = policy.and_then(|policy| age_of(policy, tier));
    match age {
        Some(age) => format!("{age} by {name}"),
        None => format!("the rule of {name}"),
    }
}

fn age_of(policy: &Policy, tier: &str) -> Option<String> {
    match tier {
        "hot" => policy.hot.as_ref().map(|hot| {
            let most = hot.max_events_per_stream;
            age(hot.max_age_ms) + &limit(most, "events a conversation")
        }),
        "warm" => policy
            .warm
            .as_ref()
            .map(|warm| age(warm.max_age_ms) + &limit(warm.max_bytes, "bytes")),
        _ => policy
            .cold
            .as_ref()
            .map(|cold| match (cold.disabled, cold.max_age_ms) {
                (true, _) => "nothing".to_owned(),
                (false, None) => "for ever".to_owned(),
                (false, Some(ms)) => age(ms),
            }),
    }
}

fn limit(most: Option<u64>, what: &str) -> String {
    most.map_or_else(String::new, |most| format!(" and at most {most} {what}"))
}

fn age(ms: u64) -> String {
    let mut units = UNITS.iter();
    let whole = units.find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
    whole.map_or(format!("{ms}ms"), |(unit, name)| {
        format!("{}{name}", ms / unit)
    })
}
