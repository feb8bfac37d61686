//! Whole passes against a mocked API server: the requests, their order and their content. No event
//! log listens at the given address, and no pass may wait for one.

mod mock;

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_api::RetentionPolicy;
use serde_json::{Value, json};

use super::grace::GraceState;
use mock::{MIN_GRACE, pass, pass_with, unreadable};

pub(crate) fn policy(name: &str, spec: &str) -> RetentionPolicy {
    let yaml = format!(
        "apiVersion: isotherm.dev/v1alpha1\nkind: RetentionPolicy\n\
         metadata: {{name: {name}, namespace: isotherm}}\nspec: {{{spec}}}\n"
    );
    k8s_api::parse(&yaml).unwrap().remove(0)
}

#[tokio::test]
async fn a_policy_is_stored_first_and_its_status_says_that_the_log_is_unreachable() {
    let policies = [policy("a", "tiers: {warm: {maxAge: 30d}}")];
    let policies = policies.map(|own| json!(own));
    check(
        &policies,
        None,
        expect![[r#"
            GET /apis/isotherm.dev/v1alpha1/namespaces/isotherm/retentionpolicies?
            GET /api/v1/namespaces/isotherm/configmaps/rules
            PATCH /api/v1/namespaces/isotherm/configmaps/rules?&force=true&fieldManager=isotherm-operator
            GET /apis/apps/v1/namespaces/isotherm/deployments/operator
            PATCH /apis/batch/v1/namespaces/isotherm/cronjobs/archiver?&force=true&fieldManager=isotherm-operator
              */5 * * * * suspend=false
            PATCH /apis/isotherm.dev/v1alpha1/namespaces/isotherm/retentionpolicies/a/status?&force=true&fieldManager=isotherm-operator-status
              Accepted=True Valid
              Conflicted=False NoOverlap
              Programmed=Unknown LogUnreachable: the log cannot be reached: connect to nats
              Ready=False NotProgrammed
            POST /apis/events.k8s.io/v1/namespaces/isotherm/events?
              Accepted: 
        "#]],
    )
    .await;
}

#[tokio::test]
async fn broken_objects_get_a_status_and_the_others_are_in_force() {
    let invalid = policy("invalid", "tiers: {warm: {maxAge: 1w}}");
    let good = policy(
        "good",
        "archive: {suspend: true}, tiers: {warm: {maxAge: 1h}}",
    );
    let unreadable = unreadable();
    check(
        &[json!(invalid), unreadable, json!(good)],
        None,
        expect![[r#"
            GET /apis/isotherm.dev/v1alpha1/namespaces/isotherm/retentionpolicies?
            GET /apis/isotherm.dev/v1alpha1/namespaces/isotherm/retentionpolicies/unreadable
            GET /api/v1/namespaces/isotherm/configmaps/rules
            PATCH /api/v1/namespaces/isotherm/configmaps/rules?&force=true&fieldManager=isotherm-operator
              warm: 7d by isotherm/built-in until 1970-01-01T01:00:00Z, then 1h by isotherm/good
            GET /apis/apps/v1/namespaces/isotherm/deployments/operator
            PATCH /apis/batch/v1/namespaces/isotherm/cronjobs/archiver?&force=true&fieldManager=isotherm-operator
              */5 * * * * suspend=true
            PATCH /apis/isotherm.dev/v1alpha1/namespaces/isotherm/retentionpolicies/good/status?&force=true&fieldManager=isotherm-operator-status
              Accepted=True Valid
              Conflicted=False NoOverlap
              Programmed=Unknown LogUnreachable: the log cannot be reached: connect to nats
              Ready=False NotProgrammed: warm keeps 7d by isotherm/built-in until 1970-01-01T01:00:00Z, then 1h by isotherm/good
            POST /apis/events.k8s.io/v1/namespaces/isotherm/events?
              Accepted: 
            POST /apis/events.k8s.io/v1/namespaces/isotherm/events?
              ShorteningScheduled: warm keeps 7d by isotherm/built-in until 1970-01-01T01:00:00Z, then 1h by isotherm/good
            PATCH /apis/isotherm.dev/v1alpha1/namespaces/isotherm/retentionpolicies/invalid/status?&force=true&fieldManager=isotherm-operator-status
              Accepted=False InvalidSpec: spec.tiers.warm.maxAge: "1w" is no age, there are no weeks: write 7d
              Ready=False NotAccepted: see Accepted
            POST /apis/events.k8s.io/v1/namespaces/isotherm/events?
              InvalidSpec: spec.tiers.warm.maxAge: "1w" is no age, there are no weeks: write 7d
            PATCH /apis/isotherm.dev/v1alpha1/namespaces/isotherm/retentionpolicies/unreadable/status?&force=true&fieldManager=isotherm-operator-status
              Accepted=False Unreadable: this version cannot read the policy: Unknown field tires. Expected one of priority, suspend, enforcement, deletionGracePeriod, selector, tiers, archive
              Ready=False NotAccepted: see Accepted
            POST /apis/events.k8s.io/v1/namespaces/isotherm/events?
              Unreadable: this version cannot read the policy: Unknown field tires. Expected one of priority, suspend, enforcement, deletionGracePeriod, selector, tiers, archive
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_policy_that_asks_for_no_grace_period_waits_and_its_status_says_so() {
    let spec = "priority: 10000, deletionGracePeriod: 0s, tiers: {warm: {maxAge: 1s}}";
    check(&[json!(policy("greedy", spec))], None, expect![[r#"
        GET /apis/isotherm.dev/v1alpha1/namespaces/isotherm/retentionpolicies?
        GET /api/v1/namespaces/isotherm/configmaps/rules
        PATCH /api/v1/namespaces/isotherm/configmaps/rules?&force=true&fieldManager=isotherm-operator
          warm: 7d by isotherm/built-in until 1970-01-01T01:00:00Z, then 1s by isotherm/greedy
        GET /apis/apps/v1/namespaces/isotherm/deployments/operator
        PATCH /apis/batch/v1/namespaces/isotherm/cronjobs/archiver?&force=true&fieldManager=isotherm-operator
          */5 * * * * suspend=false
        PATCH /apis/isotherm.dev/v1alpha1/namespaces/isotherm/retentionpolicies/greedy/status?&force=true&fieldManager=isotherm-operator-status
          Accepted=True GracePeriodRaised: spec.deletionGracePeriod is 0s: 1h applies, the operator's --min-grace
          Conflicted=False NoOverlap
          Programmed=Unknown LogUnreachable: the log cannot be reached: connect to nats
          Ready=False NotProgrammed: warm keeps 7d by isotherm/built-in until 1970-01-01T01:00:00Z, then 1s by isotherm/greedy
        POST /apis/events.k8s.io/v1/namespaces/isotherm/events?
          Accepted: spec.deletionGracePeriod is 0s: 1h applies, the operator's --min-grace
        POST /apis/events.k8s.io/v1/namespaces/isotherm/events?
          ShorteningScheduled: warm keeps 7d by isotherm/built-in until 1970-01-01T01:00:00Z, then 1s by isotherm/greedy
    "#]]).await;
}

#[tokio::test]
async fn a_second_pass_writes_nothing_that_is_there_already() {
    let own = policy("a", "tiers: {warm: {maxAge: 30d}}");
    let state = first_state(&own);
    let first = pass(&[json!(own)], Some(&state)).await;
    let status = first
        .iter()
        .find_map(|(line, body)| line.contains("/status").then(|| body["status"].clone()));
    let mut again = json!(own);
    again["status"] = status.unwrap();
    let lines: Vec<String> = pass(&[again], Some(&state))
        .await
        .into_iter()
        .map(|own| own.0)
        .collect();
    let writes: Vec<&String> = lines
        .iter()
        .filter(|line| !line.starts_with("GET"))
        .collect();
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert!(
        writes[0].contains("cronjobs"),
        "a new process applies the CronJob once: {writes:?}"
    );
}

/// The state that the first pass stores when `policy` is the only one.
fn first_state(policy: &RetentionPolicy) -> GraceState {
    let policies = std::slice::from_ref(policy);
    GraceState::default().next(policies, MIN_GRACE, Timestamp::UNIX_EPOCH)
}

#[tokio::test]
async fn over_all_namespaces_a_policy_needs_a_binding_that_this_version_can_read() {
    let of = |namespace: &str| {
        let mut own = policy("a", "tiers: {warm: {maxAge: 30d}}");
        own.metadata.namespace = Some(namespace.to_owned());
        json!(own)
    };
    let binding = |name: &str, spec: Value| json!({"apiVersion": "isotherm.dev/v1alpha1", "kind": "TenantBinding", "metadata": {"name": name}, "spec": spec});
    let bindings = [
        binding("bound", json!({"tenants": ["acme"]})),
        binding("later", json!({"tenants": ["*"], "except": ["bank"]})),
    ];
    let policies = ["bound", "later", "none"].map(of);
    let requests = pass_with(&policies, Some(&bindings), None).await;
    let accepted = |namespace: &str| {
        let path = format!("/namespaces/{namespace}/retentionpolicies/a/status");
        let (_, body) = requests
            .iter()
            .find(|(line, _)| line.contains(&path))
            .unwrap();
        let condition = &body["status"]["conditions"][0];
        condition["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(accepted("bound"), "Valid");
    assert_eq!(accepted("later"), "NamespaceNotBound");
    assert_eq!(accepted("none"), "NamespaceNotBound");
    let stored = requests
        .iter()
        .find_map(|(_, body)| body["data"]["rules.json"].as_str());
    assert!(
        stored.unwrap().contains(r#""tenants":["acme"]"#),
        "{stored:?}"
    );
}

async fn check(policies: &[Value], state: Option<&GraceState>, expected: Expect) {
    let mut text = String::new();
    for (line, body) in pass(policies, state).await {
        let _ = writeln!(text, "{line}");
        text += &summary(&line, &body);
    }
    expected.assert_eq(&text);
}

/// The parts of a body that the tests compare.
fn summary(line: &str, body: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut summary = String::new();
    if line.contains("cronjobs") {
        let spec = &body["spec"];
        let _ = writeln!(
            summary,
            "  {} suspend={}",
            text(&spec["schedule"]),
            spec["suspend"]
        );
    } else if line.contains("/configmaps/") && line.starts_with("PATCH") {
        for line in text(&body["data"]["pending"]).lines() {
            let _ = writeln!(summary, "  {line}");
        }
    } else if line.contains("/events") {
        let _ = writeln!(
            summary,
            "  {}: {}",
            text(&body["reason"]),
            text(&body["note"])
        );
    }
    for condition in body["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let own = |name: &str| text(&condition[name]);
        let _ = write!(
            summary,
            "  {}={} {}",
            own("type"),
            own("status"),
            own("reason")
        );
        let message = own("message");
        let colon = if message.is_empty() { "" } else { ": " };
        let _ = writeln!(summary, "{colon}{message}");
    }
    summary
}
