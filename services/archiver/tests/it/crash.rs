//! Archivers that die, and archivers that overlap.

use std::time::Duration;

use crate::world::World;

const ROUNDS: u64 = 10;
const EVENTS: u64 = 140;

#[tokio::test(flavor = "multi_thread")]
async fn an_archiver_killed_again_and_again_moves_every_event_once() {
    let world = World::start(None).await;
    for round in 0..ROUNDS {
        world.publish(round * EVENTS..(round + 1) * EVENTS).await;
        world.until_sealed().await;
        let archiver = world.archiver();
        // Somewhere in its run: a whole one takes about half a second.
        tokio::time::sleep(Duration::from_millis(20 + 53 * round)).await;
        archiver.kill().await;
    }

    world.archive().await;

    world.assert_whole(ROUNDS * EVENTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_archivers_at_once_move_every_event_once() {
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
