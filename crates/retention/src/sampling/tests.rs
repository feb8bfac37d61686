use std::time::Duration;

use event::{EventId, Timestamp};
use proptest::prelude::*;

use super::{SampleSubject, log2};
use crate::rules::Sampling;

/// Of `crds/examples/default.yaml`, with the salt that the golden decisions were made with.
fn default_example() -> Sampling {
    let sampling = serde_json::json!({
        "salt": "isotherm/built-in",
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

fn subject(id: u128, event_type: &str, hours: u64) -> SampleSubject<'_> {
    let start = Timestamp::from_micros(1_000_000_000);
    SampleSubject {
        event_id: EventId::from_u128(id),
        task_id: None,
        tenant: "default",
        conversation: "c",
        event_type,
        labels: &(),
        timestamp: start.plus(Duration::from_secs(3600 * hours)),
        conversation_start: start,
    }
}

#[test]
fn the_seed_rates_hold() {
    for (hours, percent) in [(0, 100.0), (1, 63.1), (24, 21.3), (168, 13.5), (720, 10.5)] {
        let rate = default_example()
            .decide(&subject(1, "output.chunk", hours))
            .rate;
        assert!((rate * 100.0 - percent).abs() < 0.05, "{hours} h: {rate}");
    }
}

#[test]
fn critical_and_other_types_are_always_kept() {
    for event_type in [
        "error",
        "error.tool",
        "intervention",
        "file.created",
        "tool.call",
    ] {
        for id in 0..200 {
            let decision = default_example().decide(&subject(id, event_type, 5000));
            assert!(decision.keep && decision.rate >= 1.0, "{event_type}");
        }
    }
}

#[test]
fn the_kept_share_is_the_rate() {
    let kept = (0..20_000_u128)
        .map(|id| id.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
        .filter(|id| {
            default_example()
                .decide(&subject(*id, "output.chunk", 24))
                .keep
        })
        .count();
    assert!((4000..4500).contains(&kept), "{kept} of 20000 at 21.3 %");
}

/// Golden: a change here would make two releases keep different events.
#[test]
fn the_decision_for_an_event_never_changes() {
    let kept: Vec<u128> = (0..40)
        .filter(|id| {
            default_example()
                .decide(&subject(*id, "output.chunk", 24))
                .keep
        })
        .collect();
    assert_eq!(kept, GOLDEN);
}

const GOLDEN: [u128; 8] = [3, 5, 15, 18, 19, 23, 34, 35];

proptest! {
    #[test]
    fn the_integer_logarithm_is_a_logarithm(x in 2.0_f64..1e9) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        let fixed = (x * 2_f64.powi(32)) as u128;
        #[expect(clippy::cast_precision_loss, reason = "a test of nearness")]
        let log = log2(fixed) as f64 / 2_f64.powi(32);
        prop_assert!((log - x.log2()).abs() < 1e-8, "{} {}", log, x.log2());
    }

    #[test]
    fn a_later_event_is_never_kept_more_easily(id in any::<u128>(), hours in 0..10_000_u64) {
        let sampling = default_example();
        let (now, later) = (subject(id, "output.chunk", hours), subject(id, "output.chunk", hours + 1));
        prop_assert!(sampling.decide(&now).keep || !sampling.decide(&later).keep);
    }
}
