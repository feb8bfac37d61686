//! What the operator does when it dies, when it is away, and when it meets what it cannot read; and
//! that it needs every right that it has.

use crate::{
    policy::{IN_FORCE, Policy, policy},
    rights::assert_every_right_is_used,
    world::{LONG, RELEASE, World},
};
use testkit::eventually_within;

const ENUM: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/enforcement/enum";

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_takes_up_where_it_stopped_passes_over_what_it_cannot_read_and_needs_all_its_rights()
 {
    let world = World::install("operator").await;
    world.enforce("good", "tiers: {hot: {maxAge: 1h}}").await;
    lose_the_leader(&world).await;
    edit_while_it_is_away(&world).await;

    apply_unreadable(&world, "broken");
    let unreadable = ("False", "Unreadable");
    let seen = world
        .until_condition("broken", "Accepted", unreadable)
        .await;
    let message = seen.message("Accepted");
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

/// The replica that writes dies, and somebody writes nonsense into a status meanwhile.
async fn lose_the_leader(world: &World) {
    let before = until_holder(world, |_| true).await;
    world.kubectl(&format!("delete pod {before} --grace-period 0 --force"));
    let nonsense = r#"{"status": {"conditions": [], "matchedConversations": 77}}"#;
    let line = "patch retentionpolicy good --subresource status --type merge --patch";
    world.kubectl_with(line, &[nonsense]);
    world.until_condition("good", "Ready", IN_FORCE).await;
    let counted = |own: &Policy| own.status()["matchedConversations"] != 77;
    world
        .until_policy("good", "is counted again", counted)
        .await;
    until_holder(world, |holder| holder != before).await;
}

/// What is edited while no operator runs is done when one is back.
async fn edit_while_it_is_away(world: &World) {
    scale(world, 0).await;
    world.edit("good", r#"{"spec": {"tiers": {"hot": {"maxAge": "2h"}}}}"#);
    let new = "priority: 7, archive: {suspend: true}, tiers: {warm: {maxAge: 3d}}";
    world.apply(&policy("new", new));
    scale(world, 2).await;
    for (name, tier, age) in [
        ("good", "hotSeconds", 2 * 3600),
        ("new", "warmSeconds", 3 * 86400),
    ] {
        let seen = world.until_condition(name, "Ready", IN_FORCE).await;
        assert_eq!(seen.status()["effective"][tier], age);
    }
    world.until_scheduled("*/5 * * * *", true).await;
}

/// Waits until the Lease is held by one of these pods.
async fn until_holder(world: &World, wanted: impl Fn(&str) -> bool) -> String {
    let mut holder = String::new();
    eventually_within(LONG, "a replica holds the Lease", async || {
        let name = format!("leases/{RELEASE}-operator");
        let lease = world.api.get("apis/coordination.k8s.io/v1", &name).await;
        let spec = lease.map(|lease| lease["spec"].clone()).unwrap_or_default();
        let name = spec["holderIdentity"].as_str().unwrap_or_default();
        holder = name.to_owned();
        !holder.is_empty() && wanted(&holder)
    })
    .await;
    holder
}

async fn scale(world: &World, replicas: usize) {
    world.kubectl(&format!(
        "scale deployment {RELEASE}-operator --replicas {replicas}"
    ));
    let pods = "pods?labelSelector=app.kubernetes.io/component=operator";
    eventually_within(LONG, &format!("{replicas} operators run"), async || {
        world.api.list("api/v1", pods).await.len() == replicas
    })
    .await;
    world.until_ready().await;
}

/// A policy that a newer definition allowed: the API server has it, and no program of ours knows
/// what it means.
fn apply_unreadable(world: &World, name: &str) {
    let patch = |operation: &str| {
        let line = "patch crd retentionpolicies.isotherm.dev --type json --patch";
        world.kubectl_with(line, &[operation]);
    };
    patch(&format!(
        r#"[{{"op": "add", "path": "{ENUM}/-", "value": "Later"}}]"#
    ));
    let spec = "priority: 3, enforcement: Later, tiers: {hot: {maxAge: 1h}}";
    let applied = world.feed("apply", &policy(name, spec));
    patch(&format!(r#"[{{"op": "remove", "path": "{ENUM}/2"}}]"#));
    applied.unwrap();
}
