use crate::world::{PARTITION, World};

#[tokio::test]
async fn a_flushed_hot_tier_is_filled_again_behind_what_is_sealed() {
    let world = World::start().await;
    let _writer = world.start_writer();
    world.publish(1..=30).await;
    world.until_last(30).await;
    world.seal(10).await;

    world.valkey.flush().await;

    world.until_floor(11).await;
    world.until_last(30).await;
    world.assert_holds(11, 30).await;
    world.publish(31..=40).await;
    world.until_last(40).await;
    world.assert_holds(11, 40).await;
}

#[tokio::test]
async fn without_a_warm_tier_a_flushed_hot_tier_is_filled_from_the_first_message() {
    let world = World::start().await;
    let _writer = world.start_writer();
    world.publish(1..=30).await;
    world.until_last(30).await;

    // At once, so that the next append detects it, and not the next report.
    world.valkey.flush().await;
    world.publish(31..=40).await;

    world.until_last(40).await;
    world.assert_holds(1, 40).await;
}

#[tokio::test]
async fn crashes_of_the_hot_tier_under_load_lose_and_repeat_nothing() {
    const FRAMES: u64 = 1200;
    let mut world = World::start().await;
    let writer = world.start_writer();
    for round in 0..4 {
        let (first, last) = (round * FRAMES / 4 + 1, (round + 1) * FRAMES / 4);
        world.publish(first..=last).await;
        world.valkey.restart().await;
    }

    world.until_last(FRAMES).await;

    world.assert_holds(1, FRAMES).await;
    assert!(writer.stop().await.success());
}

#[tokio::test]
async fn crashes_of_the_log_lose_and_repeat_nothing() {
    let mut world = World::start().await;
    let writer = world.start_writer();
    for round in 0..3 {
        world.publish(round * 100 + 1..=round * 100 + 100).await;
        world.nats.restart().await;
    }

    world.until_last(300).await;

    world.assert_holds(1, 300).await;
    assert!(writer.stop().await.success());
}

#[tokio::test]
async fn a_purge_of_uncopied_messages_raises_the_floor() {
    let world = World::start().await;
    let writer = world.start_writer();
    world.publish(1..=10).await;
    world.until_last(10).await;
    writer.kill().await;
    world.publish(11..=30).await;
    world.log.purge_through(PARTITION, 20).await.unwrap();

    let _writer = world.start_writer();

    world.until_last(30).await;
    world.assert_holds(21, 30).await;
}
