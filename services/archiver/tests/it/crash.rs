//! Archivers that are killed, and archivers that run at the same time.

use std::time::Duration;

use crate::world::World;

const ROUNDS: u64 = 10;
const EVENTS: u64 = 140;

#[tokio::test(flavor = "multi_thread")]
async fn an_archiver_killed_again_and_again_archives_every_event_once() {
    let world = World::start(None).await;
    for round in 0..ROUNDS {
        world.publish(round * EVENTS..(round + 1) * EVENTS).await;
        world.until_sealed().await;
        let archiver = world.archiver();
        // At another point of each run: a whole run takes about half a second.
        tokio::time::sleep(Duration::from_millis(20 + 53 * round)).await;
        archiver.kill().await;
    }

    world.archive().await;

    world.assert_whole(ROUNDS * EVENTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_concurrent_archivers_archive_every_event_once() {
    let world = World::start(None).await;
    for round in 0..3 {
        world.publish(round * EVENTS..(round + 1) * EVENTS).await;
        world.until_sealed().await;
        let mut archivers = [world.archiver(), world.archiver(), world.archiver()];
        for archiver in &mut archivers {
            let status = archiver.wait(Duration::from_secs(60)).await;
            assert!(status.success(), "{}", archiver.stderr());
        }
    }

    world.assert_whole(3 * EVENTS).await;
}
