//! Messages that the log has lost: neither there nor purged.

use std::time::{Duration, Instant};

use event::{PartitionId, Seq};
use futures::StreamExt as _;
use serde_json::json;

use crate::world::{CONVERSATIONS, World, event, id, numbers, partition};

/// A store whose log can lose messages.
async fn world() -> World {
    let world = World::start().await;
    for partition in crate::world::count().all() {
        let stream = event_log::stream_name(partition);
        let subject = stream.to_lowercase().replace('_', ".");
        world.nats.allow_deletes(&stream, &subject).await;
    }
    world
}

/// Loses the message of the log with event `number`, which has a message of its own; returns its sequence.
async fn lose(world: &World, number: u64) -> (PartitionId, Seq) {
    let partition = partition(&event(number));
    let own = (0..=number).filter(|n| crate::world::partition(&event(*n)) == partition);
    let seq = Seq::try_from(own.count()).unwrap();
    let stream = event_log::stream_name(partition);
    world.nats.delete_message(&stream, seq).await;
    (partition, seq)
}

/// The text of a tail until `end` is in it.
async fn text_until(world: &World, path: &str, end: &str) -> String {
    let answer = world.tail(path, None).await;
    let mut chunks = Box::pin(answer.bytes_stream());
    let mut text = String::new();
    let read = async {
        while !text.contains(end) {
            let chunk = chunks.next().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(30), read).await;
    assert!(ended.is_ok(), "no {end} in {text}");
    text
}

#[tokio::test]
async fn a_tail_goes_past_a_message_that_the_log_has_lost_and_names_it() {
    let world = world().await;
    world.publish(0..30, 1).await;
    let (partition, seq) = lose(&world, 15).await;
    let missing = json!({"partition": partition.to_string(), "from": seq, "to": seq});
    let named = format!("event: missing\ndata: {missing}\n\n");
    let paths = [
        format!("/v1/conversations/{}/tail", id(0)),
        format!("/v1/tail?after={}", crate::memory::first_positions()),
    ];
    for path in paths {
        let text = text_until(&world, &path, "\"chunk 27\"").await;
        assert_eq!(text.matches(&named).count(), 1, "{text}");
        assert_eq!(text.matches("event: missing").count(), 1, "{text}");
        for number in (0..28).filter(|number| number % CONVERSATIONS == 0) {
            let has = text.contains(&format!("\"chunk {number}\""));
            assert_eq!(has, number != 15, "{number}: {text}");
        }
    }
}

#[tokio::test]
async fn a_page_names_what_the_log_has_lost_and_has_all_the_rest() {
    let world = world().await;
    // More than are read message by message, with a gap inside and one at the end.
    let count = 1_200;
    world.publish(0..count, 1).await;
    let last = (0..count).rev().find(|n| n % CONVERSATIONS == 0).unwrap();
    let mut missing = Vec::new();
    for number in [600, last] {
        let (partition, seq) = lose(&world, number).await;
        missing.push(json!({"partition": partition.to_string(), "from": seq, "to": seq}));
    }
    let path = format!("/v1/conversations/{}/events?order=asc&limit=10000", id(0));
    let asked_at = Instant::now();
    let (status, page) = world.json(&path).await;
    assert_eq!((status, &page["missing"]), (200, &json!(missing)), "{page}");
    let own = (0..count).filter(|n| n % CONVERSATIONS == 0);
    let expected: Vec<u64> = own.filter(|n| ![600, last].contains(n)).collect();
    assert_eq!(numbers(&page), expected);
    assert!(asked_at.elapsed() < Duration::from_secs(15), "{asked_at:?}");
}
