//! Runs that cannot succeed, and the summary of one that does.

use std::time::Duration;

use event_log::Watermark;
use testkit::{SeaweedFs, eventually};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_a_compactor_fails_and_names_the_reason() {
    let world = World::start(None).await;
    let mut archiver = world.archiver_of("cold", "http://127.0.0.1:9");

    let status = archiver.wait(Duration::from_secs(30)).await;

    assert_eq!(status.code(), Some(1));
    let stderr = archiver.stderr();
    assert!(
        stderr.contains("ask the compactor what is sealed"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_the_compactor_of_another_store_fails_and_archives_nothing() {
    let (world, other) = tokio::join!(World::start(None), World::start(None));
    other.publish(0..70).await;
    other.until_sealed().await;
    let mut archiver = world.archiver_of("cold", other.flight());

    let status = archiver.wait(Duration::from_secs(30)).await;

    assert_eq!(status.code(), Some(1));
    let stderr = archiver.stderr();
    assert!(
        stderr.contains("give the URL of the compactor of this store"),
        "{stderr}"
    );
    let watermarks = world.log.watermarks().await.unwrap();
    let of_cold = watermarks
        .iter()
        .find(|own| matches!(own, Watermark::Cold { .. }));
    assert_eq!(of_cold, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_prints_its_summary_and_publishes_watermarks() {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_a_hanging_store_holds_is_ended_and_the_next_goes_on() {
    let (world, store) = tokio::join!(World::start(None), SeaweedFs::start());
    let archiver = world.archiver_into(&store, &["--run-timeout", "3s"]);
    world.publish(0..70).await;
    world.until_committed().await;
    world.publish(70..140).await;
    world.until_sealed().await;
    store.pause();
    for runs in 1..=2 {
        eventually("runs are ended", async || {
            archiver.stdout().matches("ended after 3s").count() >= runs
        })
        .await;
    }
    store.resume();
    world.until_committed().await;
    assert!(archiver.stop().await.success());
}
