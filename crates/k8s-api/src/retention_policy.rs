//! The spec of a `RetentionPolicy`: how long matching events stay in each tier, and which are kept
//! when they leave. The doc comments of its types are part of the definition in `crds/`.
//!
//! Ages and sizes are not parsed here, so that [`crate::validate::validate`] can report every bad one
//! and not only the first. The API server has the same rules from this schema; those that compare
//! fields are written as CEL.

#![expect(
    unreachable_pub,
    reason = "KubeSchema copies each struct into a function of its own"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema, core::Rule as Cel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{schema, status::Status};

/// The `apiVersion` of a policy.
pub const API_VERSION: &str = "isotherm.dev/v1alpha1";
/// The `kind` of a policy.
pub const KIND: &str = "RetentionPolicy";

/// The message for a policy that still has `selector.streams`.
pub(crate) const RENAMED_STREAMS: &str = "streams was renamed: write conversations";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "isotherm.dev",
    version = "v1alpha1",
    kind = "RetentionPolicy",
    plural = "retentionpolicies",
    shortname = "retpol",
    category = "isotherm",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    selectable = ".spec.enforcement",
    doc = "RetentionPolicy says how long matching events stay in each tier and what is kept when they leave it.",
    label("app.kubernetes.io/part-of", "isotherm"),
    annotation("helm.sh/resource-policy", "keep"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.enforcement"),
    printcolumn(name = "Hot", type_ = "string", json_path = ".spec.tiers.hot.maxAge"),
    printcolumn(name = "Warm", type_ = "string", json_path = ".spec.tiers.warm.maxAge"),
    printcolumn(name = "Cold", type_ = "string", json_path = ".spec.tiers.cold.maxAge"),
    printcolumn(name = "Conversations", type_ = "integer", json_path = ".status.matchedConversations"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Cel::new("size(self.metadata.name) <= 63")
        .message("a policy's name must be 63 characters or less, it becomes a label")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Higher wins when several policies match the same event. 0 is for the catch-all default.
    #[serde(default = "default_priority")]
    #[schemars(range(min = 0, max = 10_000))]
    pub priority: i32,
    /// Stop applying this policy. Matching events fall through to the next policy.
    #[serde(default)]
    pub suspend: bool,
    /// DryRun computes status.preview and deletes nothing.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// Wait this long after a change that shortens retention before anything is deleted.
    #[serde(default = "default_grace_period")]
    #[schemars(schema_with = "schema::grace_period")]
    pub deletion_grace_period: String,
    /// ANDed across fields, ORed within a list. An empty selector matches every event.
    #[serde(default)]
    pub selector: Selector,
    /// A tier that is left out is inherited from the next matching policy, down to the default.
    pub tiers: Tiers,
    /// When the archiver runs. Of all policies that say so, the one that ranks highest decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
}

impl RetentionPolicy {
    /// `namespace/name`; also the salt of its sampling.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    /// The name; empty if there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The namespace; `default` if there is none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or("default")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Enforcement {
    #[default]
    Enforce,
    DryRun,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Cel::new("!has(self.streams)").message(RENAMED_STREAMS))]
pub struct Selector {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::globs")]
    pub tenants: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::globs")]
    pub conversations: Vec<String>,
    /// The old name of `conversations`. Refused, never ignored: a selector that lost its one field
    /// would select every event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::globs")]
    pub streams: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::globs")]
    pub event_types: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub match_labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<Expression>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Cel::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)")
        .message("values are needed for In and NotIn, and only for them")
)]
pub struct Expression {
    #[schemars(length(min = 1, max = 128))]
    pub key: String,
    pub operator: Operator,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::values")]
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
#[x_kube(
    validation = Cel::new(schema::ordered("hot", "warm", "!has(self.hot) || !has(self.warm)"))
        .message("tiers.hot.maxAge must not be longer than tiers.warm.maxAge")
        .field_path(".hot.maxAge"),
    validation = Cel::new(schema::ordered("warm", "cold", "!has(self.warm) || !has(self.cold) || self.cold.maxAge == 'Forever'"))
        .message("tiers.warm.maxAge must not be longer than tiers.cold.maxAge")
        .field_path(".warm.maxAge"),
    validation = Cel::new(schema::ordered("hot", "cold", "!has(self.hot) || has(self.warm) || !has(self.cold) || self.cold.maxAge == 'Forever'"))
        .message("tiers.hot.maxAge must not be longer than tiers.cold.maxAge")
        .field_path(".hot.maxAge"),
)]
pub struct Tiers {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot: Option<Hot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<Warm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<Cold>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hot {
    #[schemars(schema_with = "schema::age")]
    pub max_age: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_events_per_stream: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Warm {
    #[schemars(schema_with = "schema::age")]
    pub max_age: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::bytes")]
    pub max_bytes: Option<Bytes>,
}

/// A number of bytes: a whole number, or a text with a unit such as `200Gi`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Bytes {
    Number(i64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Cel::new("!self.disabled || !has(self.sampling)")
        .message("sampling has no effect while the cold tier is disabled")
)]
pub struct Cold {
    /// Age at which archived objects are deleted; Forever keeps them.
    #[schemars(schema_with = "schema::age_or_forever")]
    pub max_age: String,
    /// Do not archive: events end with the warm tier.
    #[serde(default)]
    pub disabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sampling {
    /// What the keep/drop decision is hashed on, so that retries decide alike and whole
    /// conversations can be kept together.
    pub hash_key: HashKey,
    /// First match wins, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub rules: Vec<Rule>,
    pub default_action: DefaultAction,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum HashKey {
    #[default]
    Event,
    Task,
    Conversation,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum DefaultAction {
    #[default]
    Keep,
    Drop,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Cel::new("(self.action == 'Sample') == has(self.sample)")
        .message("sample must be set when action is Sample, and only then")
)]
pub struct Rule {
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::globs")]
    pub event_types: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub match_labels: BTreeMap<String, String>,
    pub action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Action {
    Keep,
    Drop,
    Sample,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Cel::new("self.strategy != 'Fixed' || has(self.percent)")
        .message("percent is required for strategy Fixed"),
    validation = Cel::new("self.strategy != 'Fixed' || (!has(self.minPercent) && !has(self.decayUnit))")
        .message("minPercent and decayUnit are only for strategy LogDecay"),
    validation = Cel::new("self.strategy != 'LogDecay' || !has(self.percent)")
        .message("percent is only for strategy Fixed; LogDecay takes minPercent and decayUnit"),
)]
pub struct Sample {
    pub strategy: Strategy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<i32>,
    /// LogDecay only; 1h when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::age")]
    pub decay_unit: Option<String>,
    /// LogDecay only; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub min_percent: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Strategy {
    Fixed,
    LogDecay,
}

/// When the archiver's CronJob runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Archive {
    /// Five cron fields, in UTC.
    #[serde(default = "default_schedule")]
    #[schemars(schema_with = "schema::schedule")]
    pub schedule: String,
    /// Start no run while this is true. Events stay in the warm tier until runs start again.
    #[serde(default)]
    pub suspend: bool,
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            schedule: default_schedule(),
            suspend: false,
        }
    }
}

fn default_priority() -> i32 {
    100
}

fn default_grace_period() -> String {
    "1h".to_owned()
}

fn default_schedule() -> String {
    "*/5 * * * *".to_owned()
}
