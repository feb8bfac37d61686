//! The status that the operator writes to a policy. The doc comments here are part of the definition in
//! `crds/`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Nothing here is ever read back to decide by: it can be lost and is computed again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The hash of the rule set that the services were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// Conversations whose tenant and name the selector matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched_conversations: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<EffectiveAges>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub conflicts_with: Vec<Conflict>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub components: Vec<Component>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tiers: Vec<TierStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// Shorter ages that wait for the grace period to end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub pending_shortening: Vec<Shortening>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveStatus>,
    /// When the services were first seen to follow the rule set of configHash.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub last_enforced_time: Option<Time>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// What the services run with, after inheritance, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EffectiveAges {
    pub hot_seconds: i64,
    pub warm_seconds: i64,
    /// -1 is Forever.
    pub cold_seconds: i64,
    /// The policy that an inherited tier comes from.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inherited_from: BTreeMap<String, String>,
}

/// Another policy of the same priority that may match the same events and says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Conflict {
    pub name: String,
    pub namespace: String,
    /// Whether the other one wins.
    pub winner: bool,
    pub field: String,
}

/// Which rules a service follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    #[schemars(schema_with = "schema::component_name")]
    pub name: String,
    #[serde(default)]
    pub config_hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<i32>,
}

/// The events of this policy in one tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TierStatus {
    #[schemars(schema_with = "schema::tier_name")]
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub oldest_event_time: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue_seconds: Option<i64>,
}

/// What Enforce would do now that DryRun does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Preview {
    pub events_to_delete: i64,
    pub bytes_to_delete: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub computed_at: Option<Time>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tiers: Vec<TierPreview>,
}

/// What would leave one tier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TierPreview {
    #[schemars(schema_with = "schema::tier_name")]
    pub name: String,
    #[serde(default)]
    pub events: i64,
    /// Of contents, before compression.
    #[serde(default)]
    pub bytes: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
}

/// A tier's age that becomes shorter when the grace period is over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shortening {
    #[schemars(schema_with = "schema::tier_name")]
    pub tier: String,
    /// What still holds, and whose rule it is.
    pub from: String,
    /// What will hold.
    pub to: String,
    #[schemars(schema_with = "time")]
    pub until: Option<Time>,
}

/// What the archiver's CronJob was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ArchiveStatus {
    pub schedule: String,
    pub suspend: bool,
    /// The policy that decided, or nothing for the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
}

fn time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "format": "date-time"})
}
