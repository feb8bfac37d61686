use std::time::Duration;

use testkit::eventually;

use crate::world::World;

#[tokio::test]
async fn it_waits_for_the_log_and_reports_it_as_not_ready() {
    let world = World::without_log().await;
    let writer = world.start_writer();
    eventually("it reports what it waits for", async || {
        let ready = world.admin("/readyz?verbose").await;
        ready.contains("503") && ready.contains("waiting for ingest to create the log")
    })
    .await;

    world.create_log().await;
    world.publish(1..=3).await;

    world.until_last(3).await;
    eventually("it is ready", async || {
        world.admin("/readyz").await.starts_with("HTTP/1.1 200")
    })
    .await;
    assert!(writer.stop().await.success());
}

#[tokio::test]
async fn it_stops_while_it_waits_for_a_dependency() {
    let mut world = World::without_log().await;
    let writer = world.start_writer();
    eventually("it is up", async || !world.admin("/livez").await.is_empty()).await;
    assert!(writer.stop().await.success());

    world.create_log().await;
    world.valkey.stop().await;
    let writer = world.start_writer();
    eventually("it reports the missing hot tier", async || {
        world.admin("/readyz?verbose").await.contains("[-]redis")
    })
    .await;
    assert!(writer.stop().await.success());
}

#[tokio::test]
async fn a_damaged_message_stops_it_with_an_error_and_is_never_skipped() {
    let world = World::start().await;
    world.publish(1..=3).await;
    world.publish_damaged().await;
    world.publish(5..=6).await;

    let mut writer = world.start_writer();

    let status = writer.wait(Duration::from_secs(20)).await;
    assert!(!status.success());
    let stderr = writer.stderr();
    assert!(
        stderr.contains("message 4 of the log is damaged"),
        "{stderr}"
    );
    let mut again = world.start_writer();
    assert!(!again.wait(Duration::from_secs(20)).await.success());
    world.assert_holds(1, 3).await;
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let world = World::start().await;
    let set = "CONFIG SET maxmemory-policy allkeys-lru";
    world.valkey.command(set).await;

    let mut writer = world.start_writer();

    assert!(!writer.wait(Duration::from_secs(20)).await.success());
    let stderr = writer.stderr();
    assert!(stderr.contains("set it to noeviction"), "{stderr}");
}

#[tokio::test]
async fn its_metrics_count_events_and_lag() {
    let world = World::start().await;
    let _writer = world.start_writer();
    world.publish(1..=5).await;

    let expected = [
        "isotherm_tier_moved_events_total{from=\"log\",to=\"hot\"} 15",
        "isotherm_tier_removed_events_total{reason=\"expired\",tier=\"hot\"} 0",
        "isotherm_tier_events{tier=\"hot\"} 15",
        "isotherm_consumer_pending_messages{consumer=\"hot-writer\"} 0",
        "isotherm_consumer_dead_letters_total{consumer=\"hot-writer\"} 0",
        "isotherm_tier_oldest_event_timestamp_seconds{tier=\"hot\"} 1",
        "isotherm_hot_writer_write_duration_seconds_count",
    ];
    eventually("the metrics are there", async || {
        let metrics = world.admin("/metrics").await;
        expected.iter().all(|line| metrics.contains(line))
    })
    .await;
}
