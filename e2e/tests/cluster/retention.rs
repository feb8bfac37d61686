//! Retention policies applied with kubectl: the preview of a dry run, and the effect of
//! enforcement.

use crate::{
    events::{ids, lines},
    policy::{IN_FORCE, Policy, policy},
    world::World,
};

const MINUTE: &str = "archive: {schedule: '* * * * *'}";

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_programmed_within_a_minute_and_moves_events_from_tier_to_tier() {
    let world = World::install("retention").await;
    world.client.post(&lines("case", 0..300)).await;
    assert_eq!(
        world.client.until_answered_from("case", &["hot"]).await.ids,
        ids(0..300)
    );

    let tiers = "{hot: {maxAge: 20s}, warm: {maxAge: 60s}, cold: {maxAge: Forever}}";
    let applied = std::time::Instant::now();
    let policy = world
        .enforce(
            "minutes",
            &format!("{MINUTE}, priority: 10, tiers: {tiers}"),
        )
        .await;
    assert!(applied.elapsed().as_secs() < 60, "{:?}", applied.elapsed());
    assert_eq!(policy.condition("Programmed"), ("True", "AllInSync"));
    assert!(
        policy
            .message("Programmed")
            .starts_with("3/3 services run sha256:")
    );

    world.client.until_answered_from("case", &["warm"]).await;
    let has_events = |policy: &Policy, expected: [i64; 3]| {
        Policy::events(&policy.status()["tiers"]) == expected.map(Some)
    };
    world
        .until_policy("minutes", "has all in warm", |own| {
            has_events(own, [0, 300, 0])
        })
        .await;
    let answer = world.client.until_answered_from("case", &["cold"]).await;
    assert_eq!(answer.ids, ids(0..300));
    world
        .until_policy("minutes", "has all in cold", |own| {
            has_events(own, [0, 0, 300])
        })
        .await;
    assert_eq!(
        columns(&world, "minutes"),
        "minutes 10 Enforce 20s 60s Forever 1 True"
    );
    world.until_event("minutes", "EnforcementStarted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_what_enforcing_the_policy_then_does() {
    let world = World::install("preview").await;
    world.client.post(&lines("gone", 0..300)).await;
    world.client.post(&lines("stays", 300..400)).await;
    world.client.until_sealed().await;
    let clock = format!("{MINUTE}, priority: 0, tiers: {{cold: {{maxAge: Forever}}}}");
    world.enforce("clock", &clock).await;
    let spec = "archive: {suspend: true}, priority: 500, selector: {conversations: [gone]}, \
                tiers: {hot: {maxAge: 2s}, warm: {maxAge: 4s}, cold: {maxAge: 6s}}";
    world.apply(&policy("short", &format!("enforcement: DryRun, {spec}")));
    world
        .until_condition("short", "Ready", ("True", "DryRun"))
        .await;
    let policy = world
        .until_policy("short", "shows a preview", |own| {
            own.status()["preview"]["eventsToDelete"] == 300
        })
        .await;
    let preview = &policy.status()["preview"];
    assert_eq!(Policy::events(&preview["tiers"]), [Some(300); 3]);
    let content: usize = (0..300).map(|n| format!("chunk {n}\n").len()).sum();
    assert_eq!(preview["bytesToDelete"], content);
    // The events are past the age by now, and a dry run has deleted nothing.
    assert_eq!(
        world.client.until_answered_from("gone", &["hot"]).await.ids,
        ids(0..300)
    );

    world.until_scheduled("* * * * *", false).await;

    let enforce = r#"{"spec": {"enforcement": "Enforce", "archive": null}}"#;
    world.edit("short", enforce);
    world.until_condition("short", "Ready", IN_FORCE).await;
    world.client.until_nothing_is_left("gone").await;
    world
        .client
        .assert_returns_exactly("stays", &ids(300..400))
        .await;
    let policy = world
        .until_policy("short", "has nothing left", |own| {
            Policy::events(&own.status()["tiers"]) == [Some(0); 3]
        })
        .await;
    assert!(
        policy.status()["preview"].is_null(),
        "{:?}",
        policy.status()
    );
}

/// Returns the columns of `kubectl get retpol` for a policy, without its age.
fn columns(world: &World, name: &str) -> String {
    let output = world.kubectl(&format!("get retpol {name} --no-headers"));
    let words: Vec<&str> = output.split_whitespace().collect();
    words[..words.len() - 1].join(" ")
}
