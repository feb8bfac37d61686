//! Rules of the cold tier.

use retention::{Cold, Policy, Sampling, Warm};

/// Samples `output.*` as `crds/examples/default.yaml` does.
pub(crate) fn sampling() -> Sampling {
    let sampling = serde_json::json!({
        "salt": "test/all",
        "hashKey": "Event",
        "rules": [
            {"name": "keep", "eventTypes": ["error*", "intervention", "file.created"], "action": "Keep"},
            {"name": "thin", "eventTypes": ["output.*"], "action": "Sample", "sample": {
                "strategy": {"name": "LogDecay", "decayUnitMs": 3_600_000, "minPercent": 1}
            }},
        ],
        "defaultAction": "Keep",
    });
    serde_json::from_value(sampling).unwrap()
}

/// A policy for every event: `warm_ms` in warm, and the rule `cold`.
pub(crate) fn policy(warm_ms: u64, cold: Cold) -> Policy {
    Policy {
        name: "test/all".to_owned(),
        priority: 1,
        dry_run: false,
        selector: Default::default(),
        hot: None,
        warm: Some(Warm {
            max_age_ms: warm_ms,
            max_bytes: None,
        }),
        cold: Some(cold),
    }
}
