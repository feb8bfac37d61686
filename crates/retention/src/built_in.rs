//! The built-in policy, the last of every rule set.

use std::collections::BTreeMap;

use crate::rules::{
    Action, Cold, HashKey, Hot, Policy, Rule, Sample, Sampling, Selector, Strategy, Warm,
};

const HOUR_MS: u64 = 3_600_000;

impl Policy {
    /// The policy that decides when no other does: hot 1 h and 100,000 events per conversation, warm
    /// 7 d, cold without end; errors, interventions and created files are all kept, `output.*` is
    /// sampled.
    #[must_use]
    pub fn built_in() -> Self {
        let name = "isotherm/built-in".to_owned();
        let rule = |name: &str, types: &[&str], action, sample| Rule {
            name: name.to_owned(),
            event_types: types.iter().map(ToString::to_string).collect(),
            match_labels: BTreeMap::new(),
            action,
            sample,
        };
        let decay = Sample {
            strategy: Strategy::LogDecay {
                decay_unit_ms: HOUR_MS,
                min_percent: 1,
            },
        };
        let critical = ["error*", "intervention", "file.created", "file_created"];
        Self {
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
                sampling: Some(Sampling {
                    salt: name.clone(),
                    hash_key: HashKey::Event,
                    rules: vec![
                        rule("keep-critical", &critical, Action::Keep, None),
                        rule(
                            "thin-routine-output",
                            &["output.*"],
                            Action::Sample,
                            Some(decay),
                        ),
                    ],
                    default_action: Action::Keep,
                }),
            }),
            name,
        }
    }
}
