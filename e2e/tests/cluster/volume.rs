//! The warm volume, when it is full.

use std::process::Command;

use testkit::eventually_within;

use crate::{
    events::{ids, lines},
    world::{LONG, RELEASE, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_while_the_warm_volume_is_full() {
    let small = "compactor.persistence.storageClass=small,compactor.persistence.size=200Mi";
    let world = World::install_with("volume", &["--set", small]).await;
    world.client.post(&lines("case", 0..500)).await;
    world.client.until_sealed().await;

    on_the_volume(
        &world,
        "dd if=/dev/zero of=filler bs=64k status=none 2>/dev/null || true",
    );
    world.client.post(&lines("case", 500..1500)).await;
    until_it_stops_taking(&world).await;
    world.client.post(&lines("case", 1500..3000)).await;
    world.client.assert_holds("case", &ids(0..3000)).await;
    // Neither does it get better by starting again.
    world.kubectl(&format!(
        "delete pod {RELEASE}-compactor-0 --grace-period 0 --force"
    ));
    world.client.post(&lines("case", 3000..3500)).await;
    until_it_stops_taking(&world).await;
    world.client.assert_holds("case", &ids(0..3500)).await;

    on_the_volume(&world, "rm filler");
    world.client.until_sealed().await;
    world.client.post(&lines("case", 3500..4000)).await;
    world.client.until_sealed().await;
    // All of it is on the volume, and not only in the hot tier.
    world.enforce("warm", "tiers: {hot: {maxAge: 1s}}").await;
    let answer = world.client.until_from("case", &["warm"]).await;
    assert_eq!(answer.ids, ids(0..4000));
}

/// Waits until the compactor, after its last start, has seen that there is no room.
async fn until_it_stops_taking(world: &World) {
    let log = format!("logs {RELEASE}-compactor-0");
    eventually_within(LONG, "the compactor stops taking events", async || {
        // There is no log while there is no container.
        let log = world.try_kubectl(&log).unwrap_or_default();
        log.contains("disk is nearly full, takes no more events")
    })
    .await;
}

/// Runs a shell in the folder that is the only volume of class `small`.
fn on_the_volume(world: &World, script: &str) {
    let (node, folder) = world.setting.small_volume.as_ref().unwrap();
    let status = Command::new("nsenter")
        .arg(format!("--mount=/proc/{node}/ns/mnt"))
        .args(["sh", "-c", &format!("cd {folder} && {script}")])
        .status();
    assert!(status.unwrap().success(), "{script}");
}
