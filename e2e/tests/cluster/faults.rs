//! What dies, and that nothing acknowledged is missing afterwards.

use std::ops::Range;

use crate::{
    events::{ids, lines},
    load::Load,
    world::{RELEASE, World},
};

/// Conversations of which each takes another way: one stays in hot and warm, one is in cold soon.
const WAYS: [&str; 2] = ["stays", "leaves"];
/// In the order in which they die.
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
    // A cold tier of its own: the default thins out, and what a rule took is not lost.
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
        assert_holds(&world, posted).await;
    }
    lose_log_and_ingest(&world).await;

    for server in ["valkey", "compactor"] {
        lose_volume(&world, server);
        post(&world, posted..posted + 50).await;
        posted += 50;
        world.until_ready().await;
        assert_holds(&world, posted).await;
    }
    let loaded = load.stop().await;
    world.client.assert_holds("load", &loaded).await;
    world.client.until_from("leaves", &["cold"]).await;
}

async fn post(world: &World, range: Range<usize>) {
    for conversation in WAYS {
        world.client.post(&lines(conversation, range.clone())).await;
    }
}

async fn assert_holds(world: &World, posted: usize) {
    for conversation in WAYS {
        world
            .client
            .assert_holds(conversation, &ids(0..posted))
            .await;
    }
}

/// The log is away for longer than ingest waits for it, and ingest dies with what it still has for
/// the log. The one event whose outcome is unknown is posted again.
async fn lose_log_and_ingest(world: &World) {
    let scale = format!("scale statefulset {RELEASE}-nats --replicas");
    let event = |n| lines("cut", n..n + 1);
    world.kubectl(&format!("{scale} 0"));
    let mut acknowledged = 0;
    while world.client.try_post(&event(acknowledged)).await {
        acknowledged += 1;
    }
    // It returns when they have ended: a log that is back would get what they have for it.
    world.kubectl("delete pod --selector app.kubernetes.io/component=ingest --grace-period 1");
    world.kubectl(&format!("{scale} 1"));
    world.client.post(&event(acknowledged)).await;
    world.until_ready().await;
    let all = ids(0..acknowledged + 1);
    world.client.assert_holds("cut", &all).await;
}

/// The claim goes as soon as no pod uses it, and the StatefulSet makes an empty one.
fn lose_volume(world: &World, server: &str) {
    world.kubectl(&format!(
        "delete pvc data-{RELEASE}-{server}-0 --wait=false"
    ));
    world.kubectl(&format!(
        "delete pod {RELEASE}-{server}-0 --grace-period 0 --force"
    ));
}
