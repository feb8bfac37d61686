use testkit::free_port;

use crate::world::World;

const CRASHES: u64 = 10;
const FRAMES: u64 = 1500;

#[tokio::test]
async fn a_writer_killed_again_and_again_loses_and_repeats_nothing() {
    let world = World::start().await;
    for crash in 0..CRASHES {
        let writer = world.start_writer();
        let (first, last) = (crash * FRAMES / CRASHES + 1, (crash + 1) * FRAMES / CRASHES);
        tokio::join!(world.publish(first..=last), async {
            world.until_last(u64::midpoint(first, last)).await;
            writer.kill().await;
        });
    }

    let writer = world.start_writer();
    world.until_last(FRAMES).await;
    assert!(writer.stop().await.success());

    world.assert_holds(1, FRAMES).await;
}

#[tokio::test]
async fn two_writers_at_once_neither_lose_nor_repeat() {
    let world = World::start().await;
    let (one, other) = (world.start_writer(), world.start_writer_at(free_port()));

    world.publish(1..=600).await;
    world.until_last(600).await;

    world.assert_holds(1, 600).await;
    assert!(one.stop().await.success());
    assert!(other.stop().await.success());
}

#[tokio::test]
async fn a_writer_that_was_paused_neither_loses_nor_repeats() {
    let world = World::start().await;
    let paused = world.start_writer();
    world.publish(1..=50).await;
    world.until_last(50).await;
    paused.pause();

    let writer = world.start_writer_at(free_port());
    world.publish(51..=200).await;
    world.until_last(200).await;
    paused.resume();
    world.publish(201..=300).await;
    world.until_last(300).await;

    world.assert_holds(1, 300).await;
    assert!(paused.stop().await.success());
    assert!(writer.stop().await.success());
}
