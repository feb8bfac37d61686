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
async fn a_dead_letter_is_passed_over_and_counted() {
    let world = World::start().await;
    world.publish(1..=3).await;
    world.publish_raw("damaged", b"this is no frame").await;
    world.publish(5..=6).await;

    let writer = world.start_writer();

    world.until_last(6).await;
    let rows = world.read("b").await.unwrap().rows;
    let seqs: Vec<_> = rows.iter().map(|row| row.position.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 5, 6]);
    let metrics = world.admin("/metrics").await;
    let counted = "isotherm_consumer_dead_letters_total{consumer=\"hot-writer\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(writer.stop().await.success());
}

#[tokio::test]
async fn a_frame_of_a_later_version_halts_its_partition_and_not_the_process() {
    let world = World::start().await;
    world.publish(1..=3).await;
    // A frame of version 2: field 1, a number.
    world.publish_raw("later", &[8, 2]).await;
    world.publish(5..=6).await;

    let writer = world.start_writer();

    eventually("it says what to do", async || {
        let ready = world.admin("/readyz?verbose").await;
        ready.contains("g1p00e1 stopped before frame 4")
            && ready.contains("format version 2")
            && ready.contains("roll forward")
    })
    .await;
    let gauge = "isotherm_consumer_halted_partitions{consumer=\"hot-writer\"} 1";
    assert!(world.admin("/metrics").await.contains(gauge));
    world.assert_holds(1, 3).await;
    assert!(writer.stop().await.success());
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
