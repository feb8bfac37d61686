//! The compiled rule set, as it is stored, hashed and published to the services.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The rule set: all policies, the highest-ranking first. Unknown fields are ignored, so that an older
/// service still starts after a rollback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleSet {
    /// The version of the format, 1.
    pub version: u32,
    /// The policies, the highest-ranking first; the last is the built-in one.
    pub policies: Vec<Policy>,
    /// The policies in force before a change whose grace period is not over. Until it is, an event is
    /// kept by these or by `policies`, whichever keep it longer. Empty if no change is pending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Policy>,
}

/// A compiled policy. A tier that is `None` is decided by the next policy that matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// `namespace/name`; also the salt of its sampling.
    pub name: String,
    pub priority: i32,
    /// True if the policy decides nothing and is only previewed.
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

/// The selector of a policy: ANDed across fields, ORed within a list. An empty one matches every event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
    /// Stored under its old name, so that services of different versions select alike.
    #[serde(rename = "streams", skip_serializing_if = "Vec::is_empty")]
    pub conversations: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
}

/// A condition on one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expression {
    pub key: String,
    pub operator: Operator,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// The operator of an [`Expression`], as Kubernetes has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// The limits of the hot tier. All ages are milliseconds since `received_at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hot {
    pub max_age_ms: u64,
    /// The most events of one conversation; `None` is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_events_per_stream: Option<u64>,
}

/// The limits of the warm tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Warm {
    pub max_age_ms: u64,
    /// The policy's quota; `None` is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// The rules of the cold tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cold {
    /// `None` is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// True if events are not archived: they end with the warm tier.
    #[serde(default)]
    pub disabled: bool,
    /// `None` keeps every event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
}

/// The sampling of the cold tier: rules of which the first that matches decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sampling {
    /// A text that is hashed with the key, so that two policies choose independently.
    pub salt: String,
    pub hash_key: HashKey,
    pub rules: Vec<Rule>,
    /// The action for events that no rule matches: `Keep` or `Drop`.
    pub default_action: Action,
}

/// The attribute that the decision is hashed on: events with the same value are kept or dropped
/// together, if their rate is the same. `Task` means `Event` for events without a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HashKey {
    #[default]
    Event,
    Task,
    Conversation,
}

/// A rule of a sampling: an action for the events of some types and labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    pub action: Action,
    /// The rate of action `Sample`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

/// The action of a sampling rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Keep,
    Drop,
    Sample,
}

/// The parameters of action `Sample`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    pub strategy: Strategy,
}

/// The formula of the share of events that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all_fields = "camelCase")]
pub enum Strategy {
    /// `percent` of the events, at any time.
    Fixed { percent: u32 },
    /// `1 / log2(h + 2)` of the events, at least `min_percent`, where h is the time since the
    /// conversation's start in `decay_unit_ms`.
    LogDecay {
        decay_unit_ms: u64,
        min_percent: u32,
    },
}

const RULE_SET_VERSION: u32 = 1;

impl RuleSet {
    /// Makes a rule set of `policies`, the highest-ranking first, followed by the built-in policy, which
    /// matches every event and has every tier.
    #[must_use]
    pub fn new(mut policies: Vec<Policy>) -> Self {
        policies.push(Policy::built_in());
        Self {
            version: RULE_SET_VERSION,
            policies,
            before: Vec::new(),
        }
    }

    /// Adds the policies of `before` as those in force before a pending change: they decide where they
    /// keep events longer.
    #[must_use]
    pub fn not_shorter_than(mut self, before: Self) -> Self {
        self.before = before.policies;
        self
    }

    /// Ends the dry run of the policy named `policy`.
    #[must_use]
    pub fn enforcing(mut self, policy: &str) -> Self {
        let named = self.policies.iter_mut().filter(|own| own.name == policy);
        for policy in named {
            policy.dry_run = false;
        }
        self
    }

    /// Iterates over the policies that decide about events, those before a pending change included;
    /// without dry runs.
    pub fn in_force(&self) -> impl Iterator<Item = &Policy> {
        let all = self.policies.iter().chain(&self.before);
        all.filter(|policy| !policy.dry_run)
    }

    /// Iterates over the lists of policies: the current one, then the one before a pending change, if
    /// there is one. The list that keeps an event longer decides.
    pub fn generations(&self) -> impl Iterator<Item = &[Policy]> {
        let before = Some(self.before.as_slice()).filter(|before| !before.is_empty());
        std::iter::once(self.policies.as_slice()).chain(before)
    }

    /// Serializes the rules as they are stored and hashed: equal rules give equal bytes.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(self).expect("a rule set always has a JSON form")
    }

    /// Parses stored rules.
    ///
    /// # Errors
    /// A JSON error if `json` is not a rule set: permanent, keep the rules in use.
    pub fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// The hash that identifies the rules: `sha256:` and 64 hex digits.
    #[must_use]
    pub fn hash(&self) -> String {
        use std::fmt::Write as _;
        let digest = Sha256::digest(self.canonical_json());
        digest.iter().fold("sha256:".to_owned(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String never fails");
            text
        })
    }
}

impl Default for RuleSet {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Hot {
    /// The age at which events expire from the hot tier.
    #[must_use]
    pub fn max_age(&self) -> Duration {
        Duration::from_millis(self.max_age_ms)
    }
}

impl Warm {
    /// The age at which events expire from the warm tier.
    #[must_use]
    pub fn max_age(&self) -> Duration {
        Duration::from_millis(self.max_age_ms)
    }
}

impl Cold {
    /// The age at which events expire from the cold tier; `None` is never. Ignores `disabled`.
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age_ms.map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests;
