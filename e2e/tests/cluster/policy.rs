//! RetentionPolicy objects, as people apply them and look at them.

use serde_json::Value;
use testkit::eventually_within;

use crate::world::{LONG, World};

/// Of the condition Ready: every service follows the policy, and events go as it says.
pub(crate) const IN_FORCE: (&str, &str) = ("True", "Enforcing");
const GROUP: &str = "apis/isotherm.dev/v1alpha1";

/// A policy as the API server has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy(pub(crate) Value);

/// The YAML of a policy, which takes effect at once unless `spec` says otherwise.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    let grace = match spec.contains("deletionGracePeriod") {
        true => "",
        false => "deletionGracePeriod: 0s, ",
    };
    format!(
        "{{apiVersion: isotherm.dev/v1alpha1, kind: RetentionPolicy, metadata: {{name: {name}}}, \
         spec: {{{grace}{spec}}}}}"
    )
}

impl Policy {
    /// Status and reason of a condition, when it is about the spec as it is now.
    pub(crate) fn condition(&self, type_: &str) -> (&str, &str) {
        let generation = &self.0["metadata"]["generation"];
        let found = self.find(type_);
        let found = found.filter(|own| own["observedGeneration"] == *generation);
        let part = |name: &str| found.and_then(|own| own[name].as_str()).unwrap_or_default();
        (part("status"), part("reason"))
    }

    pub(crate) fn message(&self, type_: &str) -> &str {
        let found = self.find(type_);
        found
            .and_then(|own| own["message"].as_str())
            .unwrap_or_default()
    }

    fn find(&self, type_: &str) -> Option<&Value> {
        let conditions = self.0["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        conditions.find(|own| own["type"] == type_)
    }

    pub(crate) fn status(&self) -> &Value {
        &self.0["status"]
    }

    /// Events of hot, warm and cold in a list of tiers of the status.
    pub(crate) fn events(tiers: &Value) -> [Option<i64>; 3] {
        ["hot", "warm", "cold"].map(|name| {
            let mut tiers = tiers.as_array().into_iter().flatten();
            tiers.find(|tier| tier["name"] == name)?["events"].as_i64()
        })
    }
}

impl World {
    /// Applies a policy, and waits until it is accepted and every service follows it.
    pub(crate) async fn enforce(&self, name: &str, spec: &str) -> Policy {
        self.apply(&policy(name, spec));
        self.until_condition(name, "Ready", IN_FORCE).await
    }

    pub(crate) async fn policy(&self, name: &str) -> Policy {
        let found = self
            .api
            .get(GROUP, &format!("retentionpolicies/{name}"))
            .await;
        Policy(found.unwrap_or_default())
    }

    pub(crate) async fn until_policy(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&Policy) -> bool,
    ) -> Policy {
        let mut seen = Policy::default();
        eventually_within(LONG, &format!("policy {name} {what}"), async || {
            seen = self.policy(name).await;
            holds(&seen)
        })
        .await;
        seen
    }

    pub(crate) async fn until_condition(
        &self,
        name: &str,
        type_: &str,
        wanted: (&str, &str),
    ) -> Policy {
        let what = format!("has {type_}={} {}", wanted.0, wanted.1);
        self.until_policy(name, &what, |policy| policy.condition(type_) == wanted)
            .await
    }

    /// Waits for an Event about a policy.
    pub(crate) async fn until_told(&self, name: &str, reason: &str) -> String {
        let mut note = None;
        eventually_within(
            LONG,
            &format!("an Event {reason} about {name}"),
            async || {
                let events = self.api.list("apis/events.k8s.io/v1", "events").await;
                let mut events = events.iter().filter(|own| own["regarding"]["name"] == name);
                let event = events.find(|own| own["reason"] == reason);
                note = event.map(|own| own["note"].as_str().unwrap_or_default().to_owned());
                note.is_some()
            },
        )
        .await;
        note.unwrap()
    }

    /// `kubectl patch --type merge`.
    pub(crate) fn edit(&self, name: &str, patch: &str) {
        let line = format!("patch retentionpolicy {name} --type merge --patch");
        self.kubectl_with(&line, &[patch]);
    }
}
