//! What dies, and that nothing acknowledged is missing afterwards.

use crate::{
    events::{ids, lines},
    world::{RELEASE, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_pods_servers_and_the_valkey_volume_die() {
    let world = World::install("faults").await;
    let mut posted = 0;

    for component in [
        "ingest",
        "hot-writer",
        "compactor",
        "query",
        "nats",
        "valkey",
    ] {
        world.client.post(&lines("case", posted..posted + 50)).await;
        world.kubectl(&format!(
            "delete pod --selector app.kubernetes.io/component={component} --grace-period 0 --force --wait=false"
        ));
        world
            .client
            .post(&lines("case", posted + 50..posted + 100))
            .await;
        posted += 100;
        world.until_ready().await;
        world.client.assert_holds("case", &ids(0..posted)).await;
    }

    lose_volume(&world, "valkey");
    world.client.post(&lines("case", posted..posted + 50)).await;
    world.until_ready().await;
    world
        .client
        .assert_holds("case", &ids(0..posted + 50))
        .await;
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
