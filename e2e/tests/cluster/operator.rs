//! The operator after a crash, after a time without replicas, and with an unreadable policy; and
//! that it uses every right of its Role.

use crate::{
    policy::{IN_FORCE, Policy, policy},
    rights::assert_every_right_is_used,
    world::{RELEASE, WAIT_TIMEOUT, World},
};
use testkit::eventually_within;

const ENUM: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/enforcement/enum";

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_resumes_after_an_outage_skips_an_unreadable_policy_and_uses_all_its_rights() {
    let world = World::install("operator").await;
    world.enforce("good", "tiers: {hot: {maxAge: 1h}}").await;
    lose_the_leader(&world).await;
    edit_without_an_operator(&world).await;

    apply_unreadable(&world, "broken");
    let unreadable = ("False", "Unreadable");
    let policy = world
        .until_condition("broken", "Accepted", unreadable)
        .await;
    let message = policy.message("Accepted");
    assert!(message.contains("Later"), "{message}");
    for age in ["3h", "4h"] {
        let patch = format!(r#"{{"spec": {{"tiers": {{"hot": {{"maxAge": "{age}"}}}}}}}}"#);
        world.edit("good", &patch);
        world.until_condition("good", "Ready", IN_FORCE).await;
    }
    world.edit("new", r#"{"spec": {"archive": {"suspend": false}}}"#);
    world.until_scheduled("*/5 * * * *", false).await;
    assert_every_right_is_used(&world, &format!("{RELEASE}-operator")).await;
}

/// Kills the leader and overwrites a status: the next leader must correct it.
async fn lose_the_leader(world: &World) {
    let before = until_holder(world, |_| true).await;
    world.kubectl(&format!("delete pod {before} --grace-period 0 --force"));
    let nonsense = r#"{"status": {"conditions": [], "matchedConversations": 77}}"#;
    let line = "patch retentionpolicy good --subresource status --type merge --patch";
    world.kubectl_with(line, &[nonsense]);
    world.until_condition("good", "Ready", IN_FORCE).await;
    let is_counted = |own: &Policy| own.status()["matchedConversations"] != 77;
    world
        .until_policy("good", "is counted again", is_counted)
        .await;
    until_holder(world, |holder| holder != before).await;
}

/// Edits policies while no operator is running: the next one must apply the edits.
async fn edit_without_an_operator(world: &World) {
    scale(world, 0).await;
    world.edit("good", r#"{"spec": {"tiers": {"hot": {"maxAge": "2h"}}}}"#);
    let new = "priority: 7, archive: {suspend: true}, tiers: {warm: {maxAge: 3d}}";
    world.apply(&policy("new", new));
    scale(world, 2).await;
    for (name, tier, age) in [
        ("good", "hotSeconds", 2 * 3600),
        ("new", "warmSeconds", 3 * 86400),
    ] {
        let policy = world.until_condition(name, "Ready", IN_FORCE).await;
        assert_eq!(policy.status()["effective"][tier], age);
    }
    world.until_scheduled("*/5 * * * *", true).await;
}

/// Waits until the holder of the Lease satisfies `condition`, and returns its name.
async fn until_holder(world: &World, condition: impl Fn(&str) -> bool) -> String {
    let mut holder = String::new();
    eventually_within(WAIT_TIMEOUT, "a replica holds the Lease", async || {
        let name = format!("leases/{RELEASE}-operator");
        let lease = world.api.get("apis/coordination.k8s.io/v1", &name).await;
        let spec = lease.map(|lease| lease["spec"].clone()).unwrap_or_default();
        let name = spec["holderIdentity"].as_str().unwrap_or_default();
        holder = name.to_owned();
        !holder.is_empty() && condition(&holder)
    })
    .await;
    holder
}

async fn scale(world: &World, replicas: usize) {
    world.kubectl(&format!(
        "scale deployment {RELEASE}-operator --replicas {replicas}"
    ));
    let pods = "pods?labelSelector=app.kubernetes.io/component=operator";
    eventually_within(
        WAIT_TIMEOUT,
        &format!("{replicas} operators run"),
        async || world.api.list("api/v1", pods).await.len() == replicas,
    )
    .await;
    world.until_ready().await;
}

/// Applies a policy with a value that only a newer definition allows: the API server stores it, and
/// our programs cannot parse it.
fn apply_unreadable(world: &World, name: &str) {
    let patch = |operation: &str| {
        let line = "patch crd retentionpolicies.isotherm.dev --type json --patch";
        world.kubectl_with(line, &[operation]);
    };
    patch(&format!(
        r#"[{{"op": "add", "path": "{ENUM}/-", "value": "Later"}}]"#
    ));
    let spec = "priority: 3, enforcement: Later, tiers: {hot: {maxAge: 1h}}";
    let applied = world.try_apply_with("apply", &policy(name, spec));
    patch(&format!(r#"[{{"op": "remove", "path": "{ENUM}/2"}}]"#));
    applied.unwrap();
}
