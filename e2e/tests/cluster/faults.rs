//! Kills pods, servers and volumes: no acknowledged event may be missing afterwards.

use std::ops::Range;

use crate::{
    events::{ids, lines},
    load::Load,
    world::{RELEASE, World},
};

/// One conversation stays in hot and warm, the other one is soon in cold.
const CONVERSATIONS: [&str; 2] = ["stays", "leaves"];
/// In the order in which they are killed.
const PODS: [&str; 8] = [
    "ingest",
    "hot-writer",
    "compactor",
    "query",
    "operator",
    "nats",
    "valkey",
    "seaweedfs",
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_pods_servers_and_volumes_die() {
    let world = World::install("faults").await;
    // A policy without sampling: with the default policy, sampled-out events would look like lost
    // ones.
    let spec = "archive: {schedule: '* * * * *'}, selector: {conversations: [leaves]}, \
                tiers: {hot: {maxAge: 3s}, warm: {maxAge: 6s}, cold: {maxAge: Forever}}";
    world.enforce("quick", spec).await;
    let load = Load::start(&world.client, "load");
    let mut posted = 0;
    for component in PODS {
        post(&world, posted..posted + 50).await;
        world.kubectl(&format!(
            "delete pod --selector app.kubernetes.io/component={component} --grace-period 0 --force --wait=false"
        ));
        post(&world, posted + 50..posted + 100).await;
        posted += 100;
        world.until_ready().await;
        assert_returns_exactly(&world, posted).await;
    }
    lose_log_and_ingest(&world).await;

    for server in ["valkey", "compactor"] {
        lose_volume(&world, server);
        post(&world, posted..posted + 50).await;
        posted += 50;
        world.until_ready().await;
        assert_returns_exactly(&world, posted).await;
    }
    let loaded = load.stop().await;
    world.client.assert_returns_exactly("load", &loaded).await;
    world.client.until_answered_from("leaves", &["cold"]).await;
}

async fn post(world: &World, range: Range<usize>) {
    for conversation in CONVERSATIONS {
        world.client.post(&lines(conversation, range.clone())).await;
    }
}

async fn assert_returns_exactly(world: &World, posted: usize) {
    for conversation in CONVERSATIONS {
        world
            .client
            .assert_returns_exactly(conversation, &ids(0..posted))
            .await;
        world.client.until_counted(conversation, posted).await;
    }
}

/// Stops the log for longer than ingest waits for it, then kills ingest with frames that it has not
/// sent. The one event whose outcome is unknown is posted again.
async fn lose_log_and_ingest(world: &World) {
    let scale = format!("scale statefulset {RELEASE}-nats --replicas");
    let event = |n| lines("cut", n..n + 1);
    world.kubectl(&format!("{scale} 0"));
    let mut acknowledged = 0;
    while world.client.try_post(&event(acknowledged)).await {
        acknowledged += 1;
    }
    // Returns when the pods have ended; otherwise they could still send their frames to the new
    // log.
    world.kubectl("delete pod --selector app.kubernetes.io/component=ingest --grace-period 1");
    world.kubectl(&format!("{scale} 1"));
    world.client.post(&event(acknowledged)).await;
    world.until_ready().await;
    let all = ids(0..acknowledged + 1);
    world.client.assert_returns_exactly("cut", &all).await;
}

/// Deletes a volume: the claim is removed when no pod uses it, and the StatefulSet creates a new
/// one.
fn lose_volume(world: &World, server: &str) {
    world.kubectl(&format!(
        "delete pvc data-{RELEASE}-{server}-0 --wait=false"
    ));
    world.kubectl(&format!(
        "delete pod {RELEASE}-{server}-0 --grace-period 0 --force"
    ));
}
