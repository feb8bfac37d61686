//! Applies RetentionPolicy objects and reads their status.

use serde_json::Value;
use testkit::eventually_within;

use crate::world::{WAIT_TIMEOUT, World};

/// Status and reason of the condition Ready when every service has acknowledged the policy.
pub(crate) const IN_FORCE: (&str, &str) = ("True", "Enforcing");
const GROUP: &str = "apis/isotherm.dev/v1alpha1";

/// A RetentionPolicy as the API server returns it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy(pub(crate) Value);

/// Returns the YAML of a policy, without a grace period unless `spec` has one.
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
    /// Returns the status and the reason of a condition; empty when it is missing, or about an
    /// older generation of the spec.
    pub(crate) fn condition(&self, type_: &str) -> (&str, &str) {
        let generation = &self.0["metadata"]["generation"];
        let found = self.find_condition(type_);
        let found = found.filter(|own| own["observedGeneration"] == *generation);
        let part = |name: &str| found.and_then(|own| own[name].as_str()).unwrap_or_default();
        (part("status"), part("reason"))
    }

    pub(crate) fn message(&self, type_: &str) -> &str {
        let found = self.find_condition(type_);
        found
            .and_then(|own| own["message"].as_str())
            .unwrap_or_default()
    }

    fn find_condition(&self, type_: &str) -> Option<&Value> {
        let conditions = self.0["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        conditions.find(|own| own["type"] == type_)
    }

    pub(crate) fn status(&self) -> &Value {
        &self.0["status"]
    }

    /// Returns the numbers of events in hot, warm and cold from a list of tiers of the status.
    pub(crate) fn events(tiers: &Value) -> [Option<i64>; 3] {
        ["hot", "warm", "cold"].map(|name| {
            let mut tiers = tiers.as_array().into_iter().flatten();
            tiers.find(|tier| tier["name"] == name)?["events"].as_i64()
        })
    }
}

impl World {
    /// Applies a policy and waits until every service has acknowledged it.
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

    /// Waits until the policy satisfies `condition`, which `what` names in the failure.
    pub(crate) async fn until_policy(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&Policy) -> bool,
    ) -> Policy {
        let mut policy = Policy::default();
        eventually_within(WAIT_TIMEOUT, &format!("policy {name} {what}"), async || {
            policy = self.policy(name).await;
            condition(&policy)
        })
        .await;
        policy
    }

    pub(crate) async fn until_condition(
        &self,
        name: &str,
        type_: &str,
        expected: (&str, &str),
    ) -> Policy {
        let what = format!("has {type_}={} {}", expected.0, expected.1);
        self.until_policy(name, &what, |policy| policy.condition(type_) == expected)
            .await
    }

    /// Waits for a Kubernetes Event about a policy and returns its note.
    pub(crate) async fn until_event(&self, name: &str, reason: &str) -> String {
        let mut note = None;
        eventually_within(
            WAIT_TIMEOUT,
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

    /// Runs `kubectl patch --type merge` on a policy.
    pub(crate) fn edit(&self, name: &str, patch: &str) {
        let line = format!("patch retentionpolicy {name} --type merge --patch");
        self.kubectl_with(&line, &[patch]);
    }
}
