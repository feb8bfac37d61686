use std::fs;

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    agents::{self, member},
    clocks::until_purged,
    damage::positions,
    world::{Setup, World, keep_all},
};

const HOUR: u64 = 3_600_000;
/// Requests with the same event id.
const REPEATS: usize = 4;

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

#[tokio::test(flavor = "multi_thread")]
async fn statistics_over_a_range_of_duplicates_only_are_complete_when_only_cold_has_it() {
    let setup = Setup {
        partitions: 1,
        ..Setup::default()
    };
    let mut world = World::start_with(setup).await;
    world.set_policy(HOUR, HOUR, keep_all()).await;
    let (posted, last) = (agents::run(31, 200, 3), agents::run(32, 3, 1));
    // The second time the same events in other frames: the range that is archived then has no row.
    for (lines, batch) in [(&posted, 200), (&posted, 60), (&last, 10)] {
        world.post(lines, batch).await;
        world.until_sealed().await;
        world.archive().await;
    }
    eventually("the log has the last message only", async || {
        let log = world.log_state().await;
        log.first == log.last
    })
    .await;

    world.kill("compactor").await;
    world.valkey.flush().await;
    fs::remove_dir_all(world.path("warm")).unwrap();
    world.start_service("compactor");
    world.until_ready("compactor").await;
    world.until_sealed().await;

    let hours = world.hours().await;
    assert_eq!(
        (&hours["complete"], &hours["missing"]),
        (&json!(true), &json!([])),
        "{hours}"
    );
    let counted = hours["hours"].as_array().unwrap().iter();
    let counted = counted.map(|hour| hour["events"].as_u64().unwrap());
    assert_eq!(counted.sum::<u64>(), (posted.len() + last.len()) as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_posted_again_after_the_warm_volume_was_lost_are_stored_once() {
    let mut world = World::start().await;
    let posted = agents::run(27, 900, 5);
    world.set_policy(HOUR, HOUR, keep_all()).await;
    world.post(&posted, 100).await;
    world.until_sealed().await;
    world.archive().await;
    until_purged(&world).await;
    world.kill("compactor").await;
    fs::remove_dir_all(world.path("warm")).unwrap();
    world.start_service("compactor");
    world.until_ready("compactor").await;

    world.post(&posted, 77).await;
    world.until_sealed().await;
    world.archive().await;

    world.assert_returns_exactly(&posted).await;
    let (all, answer) = positions(&world).await;
    let expected = (posted.len(), posted.len(), &Value::Bool(true));
    let rows = answer["rows"].as_array().unwrap().len();
    assert_eq!((all.len(), rows, &answer["complete"]), expected);
    let hourly = world.query("/v1/stats/hourly");
    let hourly: Value = world
        .http
        .get(hourly)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let hours = hourly["hours"].as_array().unwrap().iter();
    let events: u64 = hours.map(|hour| hour["events"].as_u64().unwrap()).sum();
    assert_eq!(events, posted.len() as u64, "{hourly}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_one_event_id_that_share_a_message_are_one_event() {
    let setup = Setup {
        partitions: 1,
        ..Setup::default()
    };
    let world = World::start_with(setup).await;
    let event = |id: &str, content: usize| {
        let event = json!({
            "event_id": id, "conversation_id": id, "type": "t", "content": content.to_string(),
        });
        event.to_string()
    };
    let append = |event: String| {
        let path = world.ingest("/v1/events?receipts=all");
        let request = world.http.post(path).body(event);
        async move { request.send().await.unwrap().json::<Value>().await.unwrap() }
    };
    let until_parsed = async |bytes: usize| {
        let parsed = format!("isotherm_ingest_bytes_total{{protocol=\"json\"}} {bytes}");
        eventually("the requests wait for the log", async || {
            world.admin("ingest", "/metrics").await.contains(&parsed)
        })
        .await;
    };
    world.nats.pause();
    let before = event("before", 0);
    let behind = async {
        until_parsed(before.len()).await;
        let all_wait = async {
            let bytes: usize = (0..REPEATS)
                .map(|content| event("same", content).len())
                .sum();
            until_parsed(before.len() + bytes).await;
            world.nats.resume();
        };
        let all = (0..REPEATS).map(|content| append(event("same", content)));
        tokio::join!(join_all(all), all_wait).0
    };
    let (_, receipts) = tokio::join!(append(before.clone()), behind);
    let positions = receipts.iter().map(|receipt| {
        assert_eq!(receipt["acked"], 1, "{receipt}");
        let position = receipt["receipts"][0]["position"].as_str();
        position.unwrap().to_owned()
    });
    let positions: Vec<_> = positions.collect();
    let shared = positions
        .iter()
        .filter(|position| position.contains("-00000000000000000002-"));
    assert_eq!(shared.count(), REPEATS, "{positions:?}");
    let first = (0..REPEATS).min_by_key(|content| &positions[*content]);
    let first = first.unwrap().to_string();

    let assert_one = async || {
        let lines = world.read("same").await.lines;
        let contents: Vec<_> = lines.iter().map(|line| member(line, "content")).collect();
        assert_eq!(contents, [first.as_str()]);
        let answer = world
            .sql("SELECT content FROM events WHERE conversation_id = 'same'")
            .await;
        assert_eq!(answer["rows"].as_array().unwrap().len(), 1, "{answer}");
        assert!(answer["rows"].to_string().contains(&format!("\"{first}\"")));
    };
    assert_one().await;
    world.until_sealed().await;
    assert_one().await;
}
