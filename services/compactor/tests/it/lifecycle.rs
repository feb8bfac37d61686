use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use event_log::Watermark;
use testkit::eventually;

use crate::world::{PARTITIONS, World, assert_once};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_compactor_on_the_same_folder_is_refused_with_one_sentence() {
    let world = World::start().await;
    let first = world.compactor(&[]);
    eventually("the first is ready", async || world.is_ready().await).await;

    let other = World {
        admin_port: testkit::free_port(),
        flight_port: testkit::free_port(),
        ..world
    };
    let mut second = other.compactor(&[]);
    let status = second.wait(Duration::from_secs(10)).await;

    assert_eq!(status.code(), Some(1));
    let expected = format!(
        "error: {} is in use by another compactor; stop that one first\n",
        other.data().display()
    );
    assert!(second.stderr().ends_with(&expected), "{}", second.stderr());
    assert!(first.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_compactor_continues_where_it_stopped() {
    let world = World::start().await;
    let compactor = world.compactor(&[]);
    world.publish(0..500, 10).await;
    world.until_committed(50).await;
    let stopping = Instant::now();
    assert!(compactor.stop().await.success());
    assert!(stopping.elapsed() < Duration::from_secs(10));
    world.publish(500..1000, 10).await;

    let compactor = world.compactor(&["--seal-after", "200ms"]);
    world.until_sealed().await;

    assert_once(&world.stored().await, 1000);
    assert_eq!(
        world.metric("isotherm_tier_events{tier=\"warm\"}").await,
        1000.0
    );
    // What was not sealed is read again.
    let moved = "isotherm_tier_moved_events_total{from=\"log\",to=\"warm\"}";
    assert_eq!(world.metric(moved).await, 1000.0);
    eventually("nothing is pending", async || {
        world.metric("isotherm_consumer_pending_messages").await < 0.5
    })
    .await;
    assert!(compactor.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_publishes_its_watermark_its_url_and_the_rules_it_follows() {
    let world = World::start().await;
    let compactor = world.compactor(&["--seal-after", "200ms"]);
    world.publish(0..100, 10).await;
    let coverage = world.until_sealed().await;

    let url = format!("http://127.0.0.1:{}", world.flight_port);
    eventually("every watermark is published", async || {
        let watermarks = world.log.watermarks().await.unwrap();
        coverage.partitions.iter().all(|own| {
            watermarks.iter().any(|watermark| {
                matches!(watermark, Watermark::Warm { partition, committed, sealed, flight_url, .. }
                    if *partition == own.partition && *committed == own.committed
                        && *sealed == own.sealed && *flight_url == url)
            })
        })
    })
    .await;
    eventually("the policy is acknowledged", async || {
        let hash = retention::RuleSet::default().hash();
        let acks = world.log.policy_acks().await.unwrap();
        acks.contains(&("compactor".to_owned(), hash))
    })
    .await;
    assert!(world.is_ready().await);
    assert!(compactor.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_a_stream_that_ingest_has_not_created_yet() {
    let world = World::start().await;
    let stream = event_log::stream_name(event::PartitionId::first(1));
    let mut nats = world.nats.url.trim_start_matches("nats://").to_owned();
    nats.truncate(nats.find('/').unwrap_or(nats.len()));
    let mut socket = std::net::TcpStream::connect(nats).unwrap();
    let delete = format!("CONNECT {{}}\r\nPUB $JS.API.STREAM.DELETE.{stream} 0\r\n\r\n");
    socket.write_all(delete.as_bytes()).unwrap();
    eventually("the stream is gone", async || {
        world
            .log
            .last_seq(event::PartitionId::first(1))
            .await
            .is_err()
    })
    .await;

    let compactor = world.compactor(&[]);
    eventually("it waits", async || {
        compactor.stdout().contains("will retry")
    })
    .await;
    assert!(!world.is_ready().await);
    let count = event::PartitionCount::new(PARTITIONS).unwrap();
    world.log.ensure_streams(count, 1, None).await.unwrap();

    eventually("it is ready", async || world.is_ready().await).await;
    assert!(compactor.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_survives_a_restart_of_the_log() {
    let mut world = World::start().await;
    let compactor = world.compactor(&["--seal-after", "200ms"]);
    world.publish(0..200, 10).await;
    world.until_committed(20).await;

    world.nats.restart().await;
    eventually("the log takes events again", async || {
        world
            .log
            .last_seq(event::PartitionId::first(0))
            .await
            .is_ok()
    })
    .await;
    world.publish(200..400, 10).await;

    world.until_sealed().await;
    assert_once(&world.stored().await, 400);
    assert!(compactor.stop().await.success());
}
