//! A first installation: one conversation from all three tiers.

use crate::{
    events::{ids, lines},
    kubectl::helm,
    world::{RELEASE, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_chart_answers_one_conversation_from_three_tiers() {
    let world = World::install("install").await;
    let archive = "archive: {schedule: '0 0 1 1 *'}";
    let tiers = "tiers: {hot: {maxAge: 30s}, warm: {maxAge: 60s}, cold: {maxAge: Forever}}";
    world.enforce("tiers", &format!("{archive}, {tiers}")).await;
    world.until_scheduled("0 0 1 1 *", false).await;

    world.client.post(&lines("case", 0..100)).await;
    world.client.until_sealed().await;
    world.start_archiver("archive");
    world.until_archived("archive").await;
    // Cold answers once the warm tier has dropped the events.
    world.client.until_answered_from("case", &["cold"]).await;

    world.client.post(&lines("case", 100..200)).await;
    world
        .client
        .until_answered_from("case", &["cold", "warm"])
        .await;
    world.client.post(&lines("case", 200..300)).await;
    let answer = world
        .client
        .until_answered_from("case", &["cold", "hot", "warm"])
        .await;
    assert_eq!(answer.ids, ids(0..300));
    world.client.until_counted("case", 300).await;

    let namespace = &world.namespace;
    helm(
        &format!("test {RELEASE} --namespace {namespace} --timeout 120s"),
        &[],
    );
    // The same from a pod of the namespace, through the Services and their names.
    let read = world
        .run_cli("reader", r#"["get", "case", "-o", "ndjson"]"#)
        .await;
    assert_eq!(read.lines().count(), 300);
}
