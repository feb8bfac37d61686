//! Which policy decides, and when a change may take effect.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::eventually_within;

use crate::{
    events::{ids, lines},
    world::{LONG, RELEASE, World},
};

/// As the policy below says it.
const GRACE: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn rivals_of_one_rank_are_named_and_a_tier_is_inherited_whole() {
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
    let seen = world.enforce("long", long).await;
    let ages = &seen.status()["effective"];
    assert_eq!(ages["hotSeconds"], 3 * 3600);
    assert_eq!(ages["warmSeconds"], 24 * 3600);
    let first = format!("{}/first", world.namespace);
    assert_eq!(ages["inheritedFrom"]["warm"], first);
    // The limit of base goes with its age, and comes without it to nobody.
    let inherited = "2h at most 100 events of a conversation base";
    assert_eq!(explain(&world, "case-1").await, ["3h  long", "1d  first"]);
    assert_eq!(explain(&world, "case-2").await, [inherited, "1d  first"]);
    assert_eq!(explain(&world, "other").await, [inherited, "3d  base"]);
}

/// Of two of one rank the older one wins, and both say so.
async fn assert_rivals(world: &World, name: &str, other: &str) {
    let rivals = ("True", "SamePriority");
    let seen = world.until_condition(name, "Conflicted", rivals).await;
    let namespace = &world.namespace;
    let (rival, winner) = (
        format!("{namespace}/{other} "),
        format!("{namespace}/first wins"),
    );
    let message = seen.message("Conflicted");
    for part in [rival.as_str(), "spec.tiers.warm", &winner] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_policy_holds_until_its_grace_is_over_then_the_next_one_that_matches_does() {
    let world = World::install("grace").await;
    let base = "priority: 1, tiers: {hot: {maxAge: 2s}, warm: {maxAge: 7d}}";
    world.enforce("base", base).await;
    let kept = "priority: 200, deletionGracePeriod: 45s, selector: {conversations: [kept]}, tiers: {hot: {maxAge: 1h}}";
    world.enforce("kept", kept).await;
    world.client.post(&lines("kept", 0..100)).await;
    world.client.post(&lines("other", 100..200)).await;
    world.client.until_from("other", &["warm"]).await;

    let deleted = Instant::now();
    world.kubectl("delete retentionpolicy kept");
    let told = world.until_told("base", "ShorteningScheduled").await;
    let expected = format!("hot keeps 1h by {}/kept until", world.namespace);
    assert!(told.starts_with(&expected), "{told}");
    let pending = pending(&world).await;
    assert!(pending.contains("then 2s by"), "{pending}");
    let seen = world.policy("base").await;
    assert_eq!(seen.status()["pendingShortening"][0]["tier"], "hot");
    // A lengthening never waits, also while something does.
    let longer = "selector: {conversations: [other]}, tiers: {hot: {maxAge: 1h}}";
    world.enforce("longer", longer).await;
    let answer = world.client.until_from("kept", &["hot"]).await;
    assert_eq!(answer.ids, ids(0..100));
    assert!(deleted.elapsed() < GRACE, "{:?}", deleted.elapsed());

    world.client.until_from("kept", &["warm"]).await;
    // The operator counts in whole seconds.
    let second = Duration::from_secs(1);
    assert!(
        deleted.elapsed() + second >= GRACE,
        "{:?}",
        deleted.elapsed()
    );
    world
        .until_policy("base", "waits for nothing", |own| {
            own.status()["pendingShortening"].is_null()
        })
        .await;
}

/// Age, note and policy of hot and warm, as the CLI has it in the cluster.
async fn explain(world: &World, conversation: &str) -> Vec<String> {
    let args = format!(
        r#"["policy", "explain", "--conversation", "{conversation}", "--type", "x", "-o", "json"]"#
    );
    let said = world
        .run_cli(&format!("explain-{conversation}"), &args)
        .await;
    let rows: Vec<Value> = serde_json::from_str(&said).unwrap();
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let policy = text("policy");
        let policy = policy.rsplit('/').next().unwrap_or_default();
        format!("{} {} {policy}", text("age"), text("note"))
    };
    rows.iter().take(2).map(row).collect()
}

/// What the operator writes down, for people, of what waits.
async fn pending(world: &World) -> String {
    let mut pending = String::new();
    eventually_within(LONG, "something waits", async || {
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
