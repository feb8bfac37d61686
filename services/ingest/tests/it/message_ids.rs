//! Messages whose ids another one has taken: whoever may publish can compute them.

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID};
use event::{PartitionCount, PartitionId, SeqRange};
use event_log::{EventLog, LogMessage};
use event_proto::Frame;
use futures::TryStreamExt as _;
use reqwest::Response;
use serde_json::{Value, json};

use crate::world::{PARTITIONS, World, ok};

#[tokio::test]
async fn an_event_is_stored_although_garbage_has_taken_the_id_of_its_message() {
    let (world, _ingest) = World::start().await;
    take_id(&world, &id_of_a_message_of("b").await).await;

    let answer = ok(append(&world, "b", None).await).await;

    assert_eq!(answer["duplicates"], 0);
    assert_eq!(readable(&messages(&world).await), 1);
    let again = ok(append(&world, "c", None).await).await;
    assert_eq!(again["duplicates"], 0);
    let again = ok(append(&world, "c", None).await).await;
    assert_eq!(again["duplicates"], 1);
    assert_eq!(readable(&messages(&world).await), 2);
}

#[tokio::test]
async fn an_event_with_a_condition_is_stored_although_garbage_has_taken_the_id_of_its_message() {
    let (world, _ingest) = World::start().await;
    take_id(&world, &id_of_a_message_of("b").await).await;
    let first = ok(append(&world, "a", None).await).await;
    let first = first["receipts"][0]["position"].as_str().unwrap();

    let answer = ok(append(&world, "b", Some(first)).await).await;

    assert_eq!(answer["duplicates"], 0);
    assert_eq!(readable(&messages(&world).await), 2);
    // A client that did not get this answer asks again.
    let again: Value = ok(append(&world, "b", Some(first)).await).await;
    assert_eq!(again["duplicates"], 1);
    assert_eq!(readable(&messages(&world).await), 2);
}

async fn append(world: &World, id: &str, last: Option<&str>) -> Response {
    let mut request = world.post("/v1/conversations/c/events?receipts=all");
    if let Some(last) = last {
        request = request.header("if-match", format!("\"{last}\""));
    }
    let event = json!({"event_id": id, "type": "output.chunk", "content": "1"});
    request.body(event.to_string()).send().await.unwrap()
}

/// The id of the message that the event `id` gets in every store.
async fn id_of_a_message_of(id: &str) -> String {
    let (other, _ingest) = World::start().await;
    ok(append(&other, id, None).await).await;
    messages(&other).await.remove(0).message_id
}

/// Stores a message that is no frame under `id`, in each partition.
async fn take_id(world: &World, id: &str) {
    let client = async_nats::connect(&world.nats.url).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    for partition in partitions() {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id);
        let PartitionId { partition, .. } = partition;
        let subject = format!("ev.g1.p{partition:02}.e1");
        let published = jetstream.publish_with_headers(subject, headers, "garbage".into());
        published.await.unwrap().await.unwrap();
    }
}

fn readable(messages: &[LogMessage]) -> usize {
    let frames = messages.iter();
    let frames = frames.filter(|message| Frame::decode(message.payload.clone()).is_ok());
    frames.count()
}

async fn messages(world: &World) -> Vec<LogMessage> {
    let log = EventLog::connect(&world.nats.url, "test").await.unwrap();
    let mut all = Vec::new();
    for partition in partitions() {
        let hi = log.last_seq(partition).await.unwrap();
        if let Some(range) = SeqRange::new(1, hi) {
            let messages = log.read_range(partition, range).await.unwrap();
            all.extend(messages.try_collect::<Vec<_>>().await.unwrap());
        }
    }
    all
}

fn partitions() -> impl Iterator<Item = PartitionId> {
    PartitionCount::new(PARTITIONS).unwrap().all()
}
