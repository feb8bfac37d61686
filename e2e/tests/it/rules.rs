//! Rules of the cold tier.

use retention::Cold;

/// A cold rule that keeps events for ever and samples `output.*` as `crds/examples/default.yaml` does.
pub(crate) fn sampled() -> Option<Cold> {
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
    Some(Cold {
        sampling: Some(serde_json::from_value(sampling).unwrap()),
        ..keep_all()?
    })
}

/// A cold rule that keeps every event for ever.
pub(crate) fn keep_all() -> Option<Cold> {
    Some(Cold {
        max_age_ms: None,
        disabled: false,
        sampling: None,
    })
}
