//! Whole passes against a mocked API server: the requests, their order and their content. No event
//! log listens at the given address, and no pass may wait for one.

use std::{fmt::Write as _, time::Duration};

use expect_test::{Expect, expect};
use http::{Request, Response};
use jiff::Timestamp;
use k8s_api::RetentionPolicy;
use kube::{Client, client::Body};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Controller, grace::GraceState};
use crate::{config::Config, lease::Leadership, metrics::Metrics};

const MIN_GRACE: Duration = Duration::from_secs(3600);

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
              Ready=False NotAccepted: correct the spec, see Accepted
            POST /apis/events.k8s.io/v1/namespaces/isotherm/events?
              InvalidSpec: spec.tiers.warm.maxAge: "1w" is no age, there are no weeks: write 7d
            PATCH /apis/isotherm.dev/v1alpha1/namespaces/isotherm/retentionpolicies/unreadable/status?&force=true&fieldManager=isotherm-operator-status
              Accepted=False Unreadable: this version cannot read the policy: Unknown field tires. Expected one of priority, suspend, enforcement, deletionGracePeriod, selector, tiers, archive
              Ready=False NotAccepted: correct the spec, see Accepted
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

fn unreadable() -> Value {
    json!({
        "apiVersion": "isotherm.dev/v1alpha1",
        "kind": "RetentionPolicy",
        "metadata": {"name": "unreadable", "namespace": "isotherm"},
        "spec": {"tires": 4},
    })
}

async fn check(policies: &[Value], state: Option<&GraceState>, expected: Expect) {
    let mut text = String::new();
    for (line, body) in pass(policies, state).await {
        let _ = writeln!(text, "{line}");
        text += &summary(&line, &body);
    }
    expected.assert_eq(&text);
}

/// The requests of one pass.
async fn pass(policies: &[Value], state: Option<&GraceState>) -> Vec<(String, Value)> {
    let (service, mut apiserver) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let list = json!({"apiVersion": "isotherm.dev/v1alpha1", "kind": "RetentionPolicyList", "metadata": {}, "items": policies});
    let state = state.map(|state| serde_json::to_string(state).unwrap());
    let server = tokio::spawn(async move {
        let mut requests = Vec::new();
        while let Some((request, reply)) = apiserver.next_request().await {
            let (head, body) = request.into_parts();
            let body: Value =
                serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or_default();
            let answer = match (head.method.as_str(), head.uri.path()) {
                ("GET", path) if path.ends_with("retentionpolicies") => list.clone(),
                ("GET", path) if path.ends_with("retentionpolicies/unreadable") => unreadable(),
                ("GET", path) if path.ends_with("deployments/operator") => {
                    json!({"metadata": {"name": "operator", "uid": "u-1"}})
                }
                ("GET", _) => match &state {
                    Some(state) => map("rules", "state.json", state),
                    None => {
                        json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "", "metadata": {}})
                    }
                },
                _ => body.clone(),
            };
            let code = answer["code"].as_u64().unwrap_or(200);
            let code = u16::try_from(code).unwrap();
            let answer = serde_json::to_vec(&answer).unwrap();
            reply.send_response(
                Response::builder()
                    .status(code)
                    .body(Body::from(answer))
                    .unwrap(),
            );
            requests.push((format!("{} {}", head.method, head.uri), body));
        }
        requests
    });
    let mut controller = controller(Client::new(service, "isotherm"));
    Box::pin(controller.reconcile(Timestamp::UNIX_EPOCH))
        .await
        .unwrap();
    drop(controller);
    server.await.unwrap()
}

fn controller(client: Client) -> Controller {
    let config = Config {
        nats_url: "nats://127.0.0.1:1".to_owned(),
        sql_url: "http://127.0.0.1:1/v1/sql".parse().unwrap(),
        namespace: "isotherm".to_owned(),
        identity: "a".to_owned(),
        config_map: "rules".to_owned(),
        lease: "lease".to_owned(),
        archiver_job: Some(super::archive::tests::JOB.parse().unwrap()),
        all_namespaces: false,
        max_priority: 1000,
        min_grace: MIN_GRACE,
    };
    let metrics = Metrics::register(&Registry::new()).unwrap();
    Controller::new(
        client,
        &config,
        Leadership::always(),
        metrics,
        watch::channel(None).0,
    )
}

fn map(name: &str, key: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "uid": "u-1"}, "data": {key: value}})
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
