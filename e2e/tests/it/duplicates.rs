use crate::{agents, world::World};

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_in_other_batches_is_never_returned_twice() {
    let world = World::start().await;
    let posted = agents::run(4, 1500, 4);
    world.post(&posted, 500).await;
    world.post(&posted, 77).await;

    world.assert_returns_exactly(&posted).await;
    world.until_sealed().await;
    world.assert_returns_exactly(&posted).await;

    world.post(&posted, 131).await;
    world.until_watermark("warm", "committed").await;
    world.assert_returns_exactly(&posted).await;
    let counted = world
        .sql("SELECT count(*)::BIGINT AS n FROM events")
        .await
        .to_string();
    assert!(counted.contains("1500"), "{counted}");
}
