//! The built-in policy, the last of every rule set.

use crate::rules::{Cold, Hot, Policy, Selector, Warm};

const HOUR_MS: u64 = 3_600_000;

impl Policy {
    /// The policy that decides when no other does. It keeps every event: hot 1 h and 100,000 events
    /// per conversation, warm 7 d, cold for ever and whole. What is thinned or expires was declared.
    #[must_use]
    pub fn built_in() -> Self {
        Self {
            name: "isotherm/built-in".to_owned(),
            priority: -1,
            dry_run: false,
            selector: Selector::default(),
            hot: Some(Hot {
                max_age_ms: HOUR_MS,
                max_events_per_stream: Some(100_000),
            }),
            warm: Some(Warm {
                max_age_ms: 7 * 24 * HOUR_MS,
                max_bytes: None,
            }),
            cold: Some(Cold {
                max_age_ms: None,
                disabled: false,
                sampling: None,
            }),
        }
    }
}
