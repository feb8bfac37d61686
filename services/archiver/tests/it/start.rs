//! ConversationStarts that cannot work say why, and end with 1.

use std::time::Duration;

use event_log::Watermark;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_compactor_a_run_fails_and_says_so() {
    let world = World::start(None).await;
    let mut archiver = world.archiver_of("cold", "http://127.0.0.1:9");

    let status = archiver.wait(Duration::from_secs(30)).await;

    assert_eq!(status.code(), Some(1));
    let said = archiver.stderr();
    assert!(said.contains("ask the compactor what is sealed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_what_it_did_and_how_far_cold_is() {
    let world = World::start(None).await;
    world.publish(0..70).await;
    world.until_sealed().await;

    let summary = world.archive().await;

    assert!(summary.contains("\"archived\":70,"), "{summary}");
    assert!(summary.contains("\"kept\":70,"), "{summary}");
    let mut events_in_cold = 0;
    for watermark in world.log.watermarks().await.unwrap() {
        if let Watermark::Cold {
            partition,
            committed,
            events,
            oldest_at,
            ..
        } = watermark
        {
            assert_eq!(committed, world.log.last_seq(partition).await.unwrap());
            assert!(oldest_at.is_some());
            events_in_cold += events;
        }
    }
    assert_eq!(events_in_cold, 70);
    assert!(world.archive().await.contains("\"archived\":0,"));
}
