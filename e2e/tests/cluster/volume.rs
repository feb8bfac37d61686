//! A full warm volume.

use std::process::Command;

use testkit::eventually_within;

use crate::{
    events::{ids, lines},
    world::{RELEASE, WAIT_TIMEOUT, World},
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
    until_disk_is_full(&world).await;
    world.client.post(&lines("case", 1500..3000)).await;
    world
        .client
        .assert_returns_exactly("case", &ids(0..3000))
        .await;
    // A restart does not change that.
    world.kubectl(&format!(
        "delete pod {RELEASE}-compactor-0 --grace-period 0 --force"
    ));
    world.client.post(&lines("case", 3000..3500)).await;
    until_disk_is_full(&world).await;
    world
        .client
        .assert_returns_exactly("case", &ids(0..3500))
        .await;

    on_the_volume(&world, "rm filler");
    world.client.until_sealed().await;
    world.client.post(&lines("case", 3500..4000)).await;
    world.client.until_sealed().await;
    // All events are on the volume, not only in the hot tier.
    world.enforce("warm", "tiers: {hot: {maxAge: 1s}}").await;
    let answer = world.client.until_answered_from("case", &["warm"]).await;
    assert_eq!(answer.ids, ids(0..4000));
}

/// Waits until the compactor has logged, since its last start, that the disk is nearly full.
async fn until_disk_is_full(world: &World) {
    let log = format!("logs {RELEASE}-compactor-0");
    eventually_within(
        WAIT_TIMEOUT,
        "the compactor stops taking events",
        async || {
            // There is no log before the container has started.
            let log = world.try_kubectl(&log).unwrap_or_default();
            log.contains("disk is nearly full, takes no more events")
        },
    )
    .await;
}

/// Runs a shell script in the folder of the only volume of class `small`.
fn on_the_volume(world: &World, script: &str) {
    let (node, folder) = world.setting.small_volume.as_ref().unwrap();
    let status = Command::new("nsenter")
        .arg(format!("--mount=/proc/{node}/ns/mnt"))
        .args(["sh", "-c", &format!("cd {folder} && {script}")])
        .status();
    assert!(status.unwrap().success(), "{script}");
}
