//! The first hour of a user.

use crate::{
    events::{ids, lines},
    kubectl::helm,
    world::{RELEASE, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_chart_answers_one_conversation_from_three_tiers() {
    let world = World::install("install").await;
    world
        .set_policy("tiers", include_str!("policies/tiers.yaml"))
        .await;
    world.schedule("0 0 1 1 *", true);

    world.client.post(&lines("case", 0..100)).await;
    world.client.until_sealed().await;
    world.start_archiver("archive");
    world.until_archived("archive").await;
    // As soon as the warm tier has dropped it.
    world.client.until_from("case", &["cold"]).await;

    world.client.post(&lines("case", 100..200)).await;
    world.client.until_from("case", &["cold", "warm"]).await;
    world.client.post(&lines("case", 200..300)).await;
    let answer = world
        .client
        .until_from("case", &["cold", "hot", "warm"])
        .await;
    assert_eq!(answer.ids, ids(0..300));

    let namespace = &world.namespace;
    helm(
        &format!("test {RELEASE} --namespace {namespace} --timeout 120s"),
        &[],
    );
    // And as a pod of the namespace sees it, through the Services and their names.
    world.apply(&world.cli_pod("reader", "test", r#"["get", "case", "-o", "ndjson"]"#));
    world.until_succeeded("reader").await;
    assert_eq!(world.kubectl("logs reader").lines().count(), 300);
}
