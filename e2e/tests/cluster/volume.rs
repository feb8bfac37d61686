//! The warm volume, when it is full.

use std::process::Command;

use crate::{
    events::{ids, lines},
    world::{RELEASE, World},
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
    for batch in 1..6 {
        let batch = batch * 500..(batch + 1) * 500;
        world.client.post(&lines("case", batch.clone())).await;
        world.client.assert_holds("case", &ids(0..batch.end)).await;
    }
    // Neither does it get better by starting again.
    world.kubectl(&format!(
        "delete pod {RELEASE}-compactor-0 --grace-period 0 --force"
    ));
    world.client.post(&lines("case", 3000..3500)).await;
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

/// Runs a shell in the folder that is the only volume of class `small`.
fn on_the_volume(world: &World, script: &str) {
    let (node, folder) = world.setting.small_volume.as_ref().unwrap();
    let status = Command::new("nsenter")
        .arg(format!("--mount=/proc/{node}/ns/mnt"))
        .args(["sh", "-c", &format!("cd {folder} && {script}")])
        .status();
    assert!(status.unwrap().success(), "{script}");
}
