//! The compiled rule set: what is stored, hashed and handed to the services.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// All policies, the winner first. Unknown fields are ignored, so that an older service still
/// starts after a rollback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleSet {
    pub version: u32,
    pub policies: Vec<Policy>,
    /// What was in force before a change whose grace period is not over: until it is, an event is
    /// kept by these or by `policies`, whichever keep it longer. Empty when nothing waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Policy>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// `namespace/name`; also the salt of its sampling.
    pub name: String,
    pub priority: i32,
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    pub selector: Selector,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot: Option<Hot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<Warm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<Cold>,
}

/// ANDed across fields, ORed within a list. An empty selector matches every event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(alias = "streams")] // as rule sets of before 0.2 have it
    pub conversations: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expression {
    pub key: String,
    pub operator: Operator,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// Ages are milliseconds since the log took the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hot {
    pub max_age_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_events_per_stream: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Warm {
    pub max_age_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cold {
    /// `None` is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    #[serde(default)]
    pub disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sampling {
    pub salt: String,
    pub hash_key: HashKey,
    pub rules: Vec<Rule>,
    pub default_action: Action,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HashKey {
    #[default]
    Event,
    Task,
    Conversation,
}

/// First match wins, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    pub action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Keep,
    Drop,
    Sample,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    pub strategy: Strategy,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all_fields = "camelCase")]
pub enum Strategy {
    Fixed {
        percent: u32,
    },
    LogDecay {
        decay_unit_ms: u64,
        min_percent: u32,
    },
}

const HOUR_MS: u64 = 3_600_000;
const VERSION: u32 = 1;

impl RuleSet {
    /// Puts `policies`, the winner first, before the built-in default, which catches all the rest.
    #[must_use]
    pub fn new(mut policies: Vec<Policy>) -> Self {
        policies.push(Policy::built_in());
        Self {
            version: VERSION,
            policies,
            before: Vec::new(),
        }
    }

    /// The same rules, and those of `before` as long as they keep more.
    #[must_use]
    pub fn not_shorter_than(mut self, before: Self) -> Self {
        self.before = before.policies;
        self
    }

    /// The same rules with `policy` enforced, if it was not.
    #[must_use]
    pub fn enforcing(mut self, policy: &str) -> Self {
        for own in self.policies.iter_mut().filter(|own| own.name == policy) {
            own.dry_run = false;
        }
        self
    }

    /// Every policy that decides about some event. One that runs dry decides nothing.
    pub fn in_force(&self) -> impl Iterator<Item = &Policy> {
        let all = self.policies.iter().chain(&self.before);
        all.filter(|policy| !policy.dry_run)
    }

    /// The lists of policies of which the one that keeps an event longer decides.
    pub fn generations(&self) -> impl Iterator<Item = &[Policy]> {
        let before = Some(self.before.as_slice()).filter(|before| !before.is_empty());
        std::iter::once(self.policies.as_slice()).chain(before)
    }

    /// The form that is stored and hashed: the same rules always give the same bytes.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(self).expect("a rule set always has a JSON form")
    }

    pub fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// `sha256:` and 64 hex digits.
    #[must_use]
    pub fn hash(&self) -> String {
        use std::fmt::Write as _;
        let digest = Sha256::digest(self.canonical_json());
        digest.iter().fold("sha256:".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes everything");
            text
        })
    }
}

impl Policy {
    /// What holds when no policy says otherwise: hot 1 h and 100,000 events a conversation, warm
    /// 7 d, cold for ever; errors, interventions and created files whole, `output.*` thinned.
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

impl Default for RuleSet {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Hot {
    #[must_use]
    pub fn max_age(&self) -> Duration {
        Duration::from_millis(self.max_age_ms)
    }
}

impl Warm {
    #[must_use]
    pub fn max_age(&self) -> Duration {
        Duration::from_millis(self.max_age_ms)
    }
}

impl Cold {
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age_ms.map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests;
