//! What the API server refuses by the chart's ValidatingAdmissionPolicy objects, before the operator sees it.

use serde_json::Value;
use testkit::eventually_within;

use crate::{
    kubectl::{helm, kubectl, try_kubectl_stdin},
    policy::policy,
    world::{RELEASE, WAIT_TIMEOUT, World},
};

/// With every part of the policies in force.
const VALUES: &str =
    "profile=dev,operator.allNamespaces=true,operator.minGrace=1h,operator.maxPriority=1000";
const KIND: &str = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy";

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_what_the_operator_would_not_follow_and_changes_of_its_objects() {
    let world = World::empty("admission");
    let team = Team::new(&world);
    let rules = rules(&world, &team);
    world.apply(&rules);
    let is_in_force = async || refusal(&world.namespace, "deletionGracePeriod: 0s").is_some();
    eventually_within(WAIT_TIMEOUT, "the rules are in force", is_in_force).await;

    a_grace_period_has_a_least_length(&world.namespace);
    only_the_own_namespace_sets_what_concerns_all(&world.namespace, &team.namespace);
    a_policy_stays_within_its_binding(&team.namespace);
    only_the_operator_changes_its_objects(&world);
    world.try_apply_with("delete", &rules).unwrap();
}

/// Another namespace with policies, and its TenantBinding. Removed on drop.
struct Team {
    namespace: String,
}

impl Team {
    fn new(world: &World) -> Self {
        let namespace = format!("{}-team", world.namespace);
        kubectl(&format!("create namespace {namespace}"));
        world.apply(&format!(
            "{{apiVersion: isotherm.dev/v1alpha1, kind: TenantBinding, metadata: {{name: {namespace}}}, \
             spec: {{tenants: [acme, 'lab-*']}}}}"
        ));
        Self { namespace }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let name = &self.namespace;
        let _ = crate::kubectl::try_run("kubectl", &format!("delete tenantbinding {name}"), &[]);
        let line = format!("delete namespace {name} --wait=false");
        let _ = crate::kubectl::try_run("kubectl", &line, &[]);
    }
}

/// The chart's rules, in force only in the two namespaces: other scenarios run at the same time.
fn rules(world: &World, team: &Team) -> String {
    let (own, theirs) = (&world.namespace, &team.namespace);
    let line = format!(
        "template {RELEASE} {} --namespace {own} --set {VALUES} --api-versions {KIND} \
         --show-only templates/admission.yaml",
        world.chart()
    );
    let selector = format!(
        "matchResources: {{namespaceSelector: {{matchExpressions: [{{key: kubernetes.io/metadata.name, \
         operator: In, values: [{own}, {theirs}]}}]}}}}"
    );
    let actions = "validationActions: [Deny]";
    let rendered = helm(&line, &[]);
    assert_eq!(rendered.matches(actions).count(), 3, "{rendered}");
    rendered.replace(actions, &format!("{actions}\n  {selector}"))
}

/// The API server's refusal of a policy of this spec, `None` if it accepts it.
fn refusal(namespace: &str, spec: &str) -> Option<String> {
    let spec = match spec.contains("deletionGracePeriod") {
        true => format!("{spec}, tiers: {{hot: {{maxAge: 1h}}}}"),
        false => format!("deletionGracePeriod: 1h, {spec}, tiers: {{hot: {{maxAge: 1h}}}}"),
    };
    let line = format!("--namespace {namespace} create --dry-run=server");
    try_kubectl_stdin(&line, &policy("tried", &spec)).err()
}

#[track_caller]
fn assert_refused(namespace: &str, spec: &str, reason: &str) {
    let refusal = refusal(namespace, spec).unwrap_or_else(|| panic!("{spec} is accepted"));
    assert!(
        refusal.contains(reason),
        "{spec} is refused without {reason:?}: {refusal}"
    );
}

#[track_caller]
fn assert_accepted(namespace: &str, spec: &str) {
    assert_eq!(refusal(namespace, spec), None, "{spec}");
}

fn a_grace_period_has_a_least_length(namespace: &str) {
    for short in ["0s", "0d", "1s", "59m", "3599s"] {
        let spec = format!("deletionGracePeriod: {short}");
        assert_refused(namespace, &spec, "deletionGracePeriod must be at least 1h");
    }
    for long in ["1h", "60m", "3600s", "1d"] {
        assert_accepted(namespace, &format!("deletionGracePeriod: {long}"));
    }
}

fn only_the_own_namespace_sets_what_concerns_all(own: &str, team: &str) {
    for (spec, reason) in [
        ("priority: 1001", "spec.priority must be at most 1000"),
        (
            "archive: {suspend: true}",
            "spec.archive is of the one archiver",
        ),
    ] {
        assert_accepted(own, spec);
        assert_refused(team, spec, reason);
    }
    assert_accepted(team, "priority: 1000");
}

fn a_policy_stays_within_its_binding(team: &str) {
    for outside in ["bank", "*", "acme*", "lab*", "?ab-1"] {
        let spec = format!("selector: {{tenants: [acme, '{outside}']}}");
        assert_refused(team, &spec, "allows, which is acme, lab-*");
    }
    for inside in [
        "{tenants: [acme, 'lab-*', 'lab-?']}",
        "{conversations: [x]}",
        "{}",
    ] {
        assert_accepted(team, &format!("selector: {inside}"));
    }
}

fn only_the_operator_changes_its_objects(world: &World) {
    let map = format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {RELEASE}-policy}}}}");
    let refused = |result: Result<(), String>| {
        let refusal = result.expect_err("it is accepted");
        assert!(refusal.contains("only Isotherm's operator"), "{refusal}");
    };
    refused(world.try_apply_with("create", &map));
    // The group gives the right, the name is that of the operator.
    let namespace = &world.namespace;
    let operator = format!(
        "create --as system:serviceaccount:{namespace}:{RELEASE}-operator --as-group system:masters"
    );
    world.try_apply_with(&operator, &map).unwrap();
    let edit = format!("patch configmap {RELEASE}-policy --type merge --patch");
    let edited = crate::kubectl::try_run(
        "kubectl",
        &format!("--namespace {namespace} {edit}"),
        &[r#"{"data": {"state.json": "{}"}}"#],
    );
    refused(edited.map(drop));
    refused(world.try_apply_with("delete", &map));
    let job = format!(
        "{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: {RELEASE}-archiver}}, spec: {{schedule: '* * * * *', \
         jobTemplate: {{spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: a, image: a}}]}}}}}}}}}}}}"
    );
    refused(world.try_apply_with("create --dry-run=server", &job));
    let other = map.replace(&format!("{RELEASE}-policy"), "other");
    world.try_apply_with("create", &other).unwrap();
    let maps: Value = serde_json::from_str(&world.kubectl("get configmaps --output json")).unwrap();
    assert!(maps["items"].as_array().unwrap().len() >= 2);
}
