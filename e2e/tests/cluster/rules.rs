//! Precedence of policies, and when a change takes effect.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::eventually_within;

use crate::{
    events::{ids, lines},
    world::{RELEASE, WAIT_TIMEOUT, World},
};

/// The `deletionGracePeriod` of the policy below.
const GRACE: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn conflicting_policies_of_one_priority_are_named_and_a_tier_is_inherited_whole() {
    let world = World::install("rules").await;
    let base =
        "priority: 1, tiers: {hot: {maxAge: 2h, maxEventsPerStream: 100}, warm: {maxAge: 3d}}";
    world.enforce("base", base).await;

    let rival = |age: &str| {
        format!("selector: {{conversations: ['case-*']}}, tiers: {{warm: {{maxAge: {age}}}}}")
    };
    world.enforce("first", &rival("1d")).await;
    world.enforce("second", &rival("2d")).await;
    assert_rivals(&world, "first", "second").await;
    assert_rivals(&world, "second", "first").await;
    world.edit("second", r#"{"spec": {"priority": 99}}"#);
    let none = ("False", "NoOverlap");
    world.until_condition("first", "Conflicted", none).await;

    let long = "priority: 200, selector: {conversations: [case-1]}, tiers: {hot: {maxAge: 3h}}";
    let policy = world.enforce("long", long).await;
    let ages = &policy.status()["effective"];
    assert_eq!(ages["hotSeconds"], 3 * 3600);
    assert_eq!(ages["warmSeconds"], 24 * 3600);
    let first = format!("{}/first", world.namespace);
    assert_eq!(ages["inheritedFrom"]["warm"], first);
    // The event limit of `base` applies only where its age applies.
    let inherited = "2h at most 100 events of a conversation base";
    assert_eq!(explain(&world, "case-1").await, ["3h  long", "1d  first"]);
    assert_eq!(explain(&world, "case-2").await, [inherited, "1d  first"]);
    assert_eq!(explain(&world, "other").await, [inherited, "3d  base"]);
}

/// Asserts that of two policies of one priority the older one wins, and that both report it.
async fn assert_rivals(world: &World, name: &str, other: &str) {
    let rivals = ("True", "SamePriority");
    let policy = world.until_condition(name, "Conflicted", rivals).await;
    let namespace = &world.namespace;
    let (rival, winner) = (
        format!("{namespace}/{other} "),
        format!("{namespace}/first wins"),
    );
    let message = policy.message("Conflicted");
    for part in [rival.as_str(), "spec.tiers.warm", &winner] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_policy_applies_until_its_grace_period_ends_then_the_next_one_does() {
    let world = World::install("grace").await;
    let base = "priority: 1, tiers: {hot: {maxAge: 2s}, warm: {maxAge: 7d}}";
    world.enforce("base", base).await;
    let kept = "priority: 200, deletionGracePeriod: 45s, selector: {conversations: [kept]}, tiers: {hot: {maxAge: 1h}}";
    world.enforce("kept", kept).await;
    world.client.post(&lines("kept", 0..100)).await;
    world.client.post(&lines("other", 100..200)).await;
    world.client.until_answered_from("other", &["warm"]).await;

    let deleted = Instant::now();
    world.kubectl("delete retentionpolicy kept");
    let note = world.until_event("base", "ShorteningScheduled").await;
    let expected = format!("hot keeps 1h by {}/kept until", world.namespace);
    assert!(note.starts_with(&expected), "{note}");
    let pending = pending(&world).await;
    assert!(pending.contains("then 2s by"), "{pending}");
    let policy = world.policy("base").await;
    assert_eq!(policy.status()["pendingShortening"][0]["tier"], "hot");
    // A lengthening takes effect at once, also while a shortening is pending.
    let longer = "selector: {conversations: [other]}, tiers: {hot: {maxAge: 1h}}";
    world.enforce("longer", longer).await;
    let answer = world.client.until_answered_from("kept", &["hot"]).await;
    assert_eq!(answer.ids, ids(0..100));
    assert!(deleted.elapsed() < GRACE, "{:?}", deleted.elapsed());

    world.client.until_answered_from("kept", &["warm"]).await;
    // The operator computes in whole seconds.
    let second = Duration::from_secs(1);
    assert!(
        deleted.elapsed() + second >= GRACE,
        "{:?}",
        deleted.elapsed()
    );
    world
        .until_policy("base", "has no pending shortening", |own| {
            own.status()["pendingShortening"].is_null()
        })
        .await;
}

/// Returns age, note and policy of hot and warm, as the CLI in the cluster prints them.
async fn explain(world: &World, conversation: &str) -> Vec<String> {
    let args = format!(
        r#"["policy", "explain", "--conversation", "{conversation}", "--type", "x", "-o", "json"]"#
    );
    let output = world
        .run_cli(&format!("explain-{conversation}"), &args)
        .await;
    let rows: Vec<Value> = serde_json::from_str(&output).unwrap();
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let policy = text("policy");
        let policy = policy.rsplit('/').next().unwrap_or_default();
        format!("{} {} {policy}", text("age"), text("note"))
    };
    rows.iter().take(2).map(row).collect()
}

/// Waits until the operator's ConfigMap lists a pending shortening, and returns the list.
async fn pending(world: &World) -> String {
    let mut pending = String::new();
    eventually_within(WAIT_TIMEOUT, "a shortening is pending", async || {
        let map = world
            .api
            .get("api/v1", &format!("configmaps/{RELEASE}-policy"))
            .await;
        let text = map
            .map(|map| map["data"]["pending"].clone())
            .unwrap_or_default();
        pending = text.as_str().unwrap_or_default().to_owned();
        !pending.is_empty()
    })
    .await;
    pending
}
