//! A mocked API server, and one pass against it.

use std::time::Duration;

use http::{Request, Response};
use jiff::Timestamp;
use kube::{Client, client::Body};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    config::Config,
    controller::{Controller, archive, grace::GraceState},
    lease::Leadership,
    metrics::Metrics,
};

/// The least grace period of the operator under test.
pub(super) const MIN_GRACE: Duration = Duration::from_secs(3600);

pub(super) fn unreadable() -> Value {
    json!({
        "apiVersion": "isotherm.dev/v1alpha1",
        "kind": "RetentionPolicy",
        "metadata": {"name": "unreadable", "namespace": "isotherm"},
        "spec": {"tires": 4},
    })
}

/// The requests of one pass over the policies of one namespace.
pub(super) async fn pass(policies: &[Value], state: Option<&GraceState>) -> Vec<(String, Value)> {
    pass_with(policies, None, state).await
}

/// The requests of one pass: over all namespaces if there are `bindings`.
pub(super) async fn pass_with(
    policies: &[Value],
    bindings: Option<&[Value]>,
    state: Option<&GraceState>,
) -> Vec<(String, Value)> {
    let (service, mut apiserver) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let list = |kind: &str, items: &[Value]| json!({"apiVersion": "isotherm.dev/v1alpha1", "kind": format!("{kind}List"), "metadata": {}, "items": items});
    let (bindings, all_namespaces) = (
        list("TenantBinding", bindings.unwrap_or_default()),
        bindings.is_some(),
    );
    let list = list("RetentionPolicy", policies);
    let state = state.map(|state| serde_json::to_string(state).unwrap());
    let server = tokio::spawn(async move {
        let mut requests = Vec::new();
        while let Some((request, reply)) = apiserver.next_request().await {
            let (head, body) = request.into_parts();
            let body: Value =
                serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap_or_default();
            let answer = match (head.method.as_str(), head.uri.path()) {
                ("GET", path) if path.ends_with("retentionpolicies") => list.clone(),
                ("GET", path) if path.ends_with("tenantbindings") => bindings.clone(),
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
    let mut controller = controller(Client::new(service, "isotherm"), all_namespaces);
    Box::pin(controller.reconcile(Timestamp::UNIX_EPOCH))
        .await
        .unwrap();
    drop(controller);
    server.await.unwrap()
}

fn controller(client: Client, all_namespaces: bool) -> Controller {
    let config = Config {
        nats_url: "nats://127.0.0.1:1".to_owned(),
        sql_url: "http://127.0.0.1:1/v1/sql".parse().unwrap(),
        namespace: "isotherm".to_owned(),
        identity: "a".to_owned(),
        config_map: "rules".to_owned(),
        lease: "lease".to_owned(),
        archiver_job: Some(archive::tests::JOB.parse().unwrap()),
        all_namespaces,
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
