use std::time::Duration;

use jiff::Timestamp;
use k8s_api::{RetentionPolicy, TenantBinding, TenantBindingSpec};
use retention::Subject;

use super::Policies;
use crate::controller::{conflicts, grace::GraceState, tests::policy};

const MAX_PRIORITY: i32 = 1000;

fn of_team(team: &str, name: &str, spec: &str) -> RetentionPolicy {
    let mut policy = policy(name, spec);
    policy.metadata.namespace = Some(team.to_owned());
    policy
}

fn binding(namespace: &str, tenant: &str) -> TenantBinding {
    let tenants = vec![tenant.to_owned()];
    TenantBinding::new(namespace, TenantBindingSpec { tenants })
}

fn bound(policies: &[RetentionPolicy], bindings: &[TenantBinding]) -> Policies {
    let policies = Policies {
        valid: policies.to_vec(),
        refused: Vec::new(),
    };
    policies.bound_by(bindings, "isotherm", MAX_PRIORITY)
}

/// The reason and the message of each refused policy.
fn refusals(policies: &Policies) -> String {
    let line = |own: &super::RefusedPolicy| format!("{}: {}\n", own.reason, own.message);
    policies.refused.iter().map(line).collect()
}

/// The age in seconds up to which events of `tenant` stay in warm.
fn warm_seconds(policies: &[RetentionPolicy], tenant: &str) -> u64 {
    let subject = Subject {
        tenant,
        conversation: "c",
        event_type: "x",
        labels: &(),
    };
    let rules = k8s_api::rules(policies);
    rules.effective(&subject).warm.rules.max_age().as_secs()
}

#[test]
fn a_policy_applies_to_the_tenants_of_its_namespace_alone() {
    let greedy = of_team(
        "team",
        "greedy",
        "priority: 1000, tiers: {warm: {maxAge: 1s}}",
    );
    let default = policy("default", "priority: 0, tiers: {warm: {maxAge: 30d}}");
    let bindings = [binding("team", "acme-*"), binding("isotherm", "*")];
    let policies = bound(&[greedy, default], &bindings);
    assert_eq!(refusals(&policies), "");
    assert_eq!(warm_seconds(&policies.valid, "acme-1"), 1);
    assert_eq!(warm_seconds(&policies.valid, "bank"), 30 * 86400);
}

#[test]
fn a_policy_of_a_namespace_without_a_binding_applies_to_nothing_and_says_which_is_missing() {
    let policies = bound(
        &[of_team("team", "a", "tiers: {warm: {maxAge: 1s}}")],
        &[binding("other", "*")],
    );
    assert!(policies.valid.is_empty());
    let text = refusals(&policies);
    assert!(
        text.starts_with("NamespaceNotBound: there is no TenantBinding team"),
        "{text}"
    );
}

#[test]
fn a_policy_that_names_a_tenant_of_others_is_refused_whole() {
    let spec = "selector: {tenants: [acme, bank]}, tiers: {warm: {maxAge: 1s}}";
    let policies = bound(&[of_team("team", "a", spec)], &[binding("team", "acme")]);
    assert!(policies.valid.is_empty());
    let expected = "TenantNotBound: spec.selector.tenants: bank may select more than TenantBinding \
                    team allows, which is acme\n";
    assert_eq!(refusals(&policies), expected);
}

#[test]
fn only_the_own_namespace_may_set_what_concerns_all_tenants() {
    let bindings = [binding("team", "*"), binding("isotherm", "*")];
    let (high, archive) = (
        "priority: 1001, tiers: {hot: {maxAge: 1h}}",
        "archive: {suspend: true}, tiers: {hot: {maxAge: 1h}}",
    );
    let own = bound(&[policy("a", high), policy("b", archive)], &bindings);
    assert_eq!((own.valid.len(), refusals(&own)), (2, String::new()));
    let theirs = [of_team("team", "a", high), of_team("team", "b", archive)];
    let theirs = bound(&theirs, &bindings);
    assert!(theirs.valid.is_empty());
    let text = refusals(&theirs);
    assert!(
        text.contains("ReservedField: spec.priority is 1001"),
        "{text}"
    );
    assert!(text.contains("ReservedField: spec.archive"), "{text}");
}

#[test]
fn policies_of_two_namespaces_conflict_only_where_both_may_select() {
    let rivals = [
        of_team("one", "a", "tiers: {warm: {maxAge: 1d}}"),
        of_team("two", "b", "tiers: {warm: {maxAge: 2d}}"),
    ];
    let conflicts = |one: &str, two: &str| {
        let policies = bound(&rivals, &[binding("one", one), binding("two", two)]);
        let conflicts = conflicts::of_valid(&policies);
        conflicts.iter().map(|(_, own)| own.len()).sum::<usize>()
    };
    assert_eq!(conflicts("acme", "bank"), 0);
    assert_eq!(conflicts("acme", "ac*"), 2);
}

#[test]
fn taking_a_tenant_away_is_a_change_that_waits_for_its_grace_period() {
    let longer = [of_team("team", "a", "tiers: {warm: {maxAge: 30d}}")];
    let (with, without) = ([binding("team", "*")], [binding("team", "acme")]);
    let next = |state: &GraceState, bindings: &[TenantBinding], second: i64| {
        let policies = bound(&longer, bindings);
        let now = Timestamp::from_second(second).unwrap();
        state.next(&policies.valid, Duration::from_secs(60), now)
    };
    let before = next(&GraceState::default(), &with, 0);
    let after = next(&before, &without, 1);
    assert_eq!(after.pending().len(), 1, "{:?}", after.pending());
    assert_eq!(next(&after, &without, 3601).pending(), []);
}
