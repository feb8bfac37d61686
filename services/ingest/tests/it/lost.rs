//! Requests and acknowledgements that are lost between ingest and the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use event::{ConversationId, PartitionCount, PartitionId, Position, SeqRange, TenantId};
use event_log::EventLog;
use futures::TryStreamExt as _;
use reqwest::Response;
use serde_json::{Value, json};
use testkit::{Loss, Relay, eventually};
use tokio::task::JoinHandle;

use crate::world::{PARTITIONS, World, ok, problem};

const REQUESTS: usize = 12;
const LOST: (u16, &str) = (503, "outcome_unknown");

/// Conversations of partition 0 whose names begin with `name`.
fn conversations(name: &str, count: usize) -> Vec<String> {
    let partitions = PartitionCount::new(PARTITIONS).unwrap();
    let tenant = TenantId::default_tenant();
    let names = (0..).map(|number| format!("{name}{number}"));
    let own = names.filter(|name| {
        let conversation = ConversationId::new(name).unwrap();
        partitions.partition_of(&tenant, &conversation) == PartitionId::first(0)
    });
    own.take(count).collect()
}

/// Appends an event whose id and content are the name of its conversation.
fn append(world: &Arc<World>, conversation: &str, last: Option<&str>) -> JoinHandle<Response> {
    let path = format!("/v1/conversations/{conversation}/events?receipts=all");
    let event = json!({"event_id": conversation, "type": "t", "content": conversation});
    let mut request = world.post(&path).body(event.to_string());
    if let Some(last) = last {
        request = request.header("if-match", format!("\"{last}\""));
    }
    tokio::spawn(async move { request.send().await.unwrap() })
}

async fn position(response: Response) -> Position {
    position_in(&ok(response).await)
}

fn position_in(receipt: &Value) -> Position {
    assert_eq!(receipt["acked"], 1);
    let position = receipt["receipts"][0]["position"].as_str().unwrap();
    position.parse().unwrap()
}

/// Appends an event to each of some conversations, in requests that share a message, whose acknowledgement
/// is lost.
async fn lose_a_shared_message(world: &Arc<World>, relay: &Relay) -> Vec<JoinHandle<Response>> {
    let bytes = async || {
        let name = "isotherm_ingest_bytes_total{protocol=\"json\"}";
        world.metric(name).await.unwrap_or(0)
    };
    relay.lose(Loss::Requests, "first");
    let first = append(world, &conversations("first", 1)[0], None);
    eventually("the first is on its way", async || relay.seen() == 1).await;
    let before = bytes().await;
    let shared = conversations("shared", REQUESTS);
    let sent = shared
        .iter()
        .map(|name| json!({"event_id": name, "type": "t", "content": name}));
    let sent: usize = sent.map(|event| event.to_string().len()).sum();
    let shared: Vec<_> = shared
        .iter()
        .map(|name| append(world, name, None))
        .collect();
    eventually("the others wait", async || {
        bytes().await == before + sent as u64
    })
    .await;
    relay.cut();
    relay.lose(Loss::Answers, "shared");
    position(first.await.unwrap()).await;
    eventually("their message was sent", async || relay.seen() > 0).await;
    shared
}

/// The position and content of each event that was appended to the conversations of a shared message.
async fn stored(world: &World) -> Vec<(Position, String)> {
    let stored = world.stored().await.into_iter();
    let stored = stored.map(|(position, event)| (position, event.content));
    stored
        .filter(|(_, content)| content.starts_with("shared"))
        .collect()
}

#[tokio::test]
async fn requests_whose_shared_message_lost_its_acknowledgement_get_their_own_positions() {
    let (world, relay, _ingest) = World::start_behind_a_relay().await;
    let world = Arc::new(world);
    let shared = lose_a_shared_message(&world, &relay).await;
    relay.cut();
    let mut acknowledged = BTreeMap::new();
    for (name, response) in conversations("shared", REQUESTS).into_iter().zip(shared) {
        let receipt = ok(response.await.unwrap()).await;
        // The log has it once, by ingest's own first attempt.
        assert_eq!(receipt["duplicates"], 0);
        acknowledged.insert(position_in(&receipt), name);
    }
    let messages: Vec<_> = acknowledged.keys().map(|position| position.seq).collect();
    assert_eq!(messages, [2; REQUESTS]);
    assert_eq!(stored(&world).await, Vec::from_iter(acknowledged));
}

#[tokio::test]
async fn the_outcome_of_all_requests_of_a_lost_message_is_unknown_and_each_is_sent_again() {
    let (world, relay, _ingest) = World::start_behind_a_relay().await;
    let world = Arc::new(world);
    let shared = lose_a_shared_message(&world, &relay).await;
    for response in shared {
        let (status, problem) = problem(response.await.unwrap()).await;
        assert_eq!((status, problem["code"].as_str().unwrap()), LOST);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("the same event ids"), "{detail}");
    }
    relay.cut();
    let mut again = Vec::new();
    for name in conversations("shared", REQUESTS) {
        let response = append(&world, &name, None).await.unwrap();
        again.push((position(response).await, name));
    }
    // The log does not know them in other messages; the compactor drops the later ones.
    let mut stored = stored(&world).await;
    assert_eq!(stored.split_off(REQUESTS), again);
    let contents: BTreeSet<_> = stored.into_iter().map(|(_, content)| content).collect();
    assert_eq!(
        contents,
        conversations("shared", REQUESTS).into_iter().collect()
    );
}

/// Appends the message `seq` of partition 0 once more, as another one.
async fn append_again(log: &EventLog, seq: u64) {
    let partition = PartitionId::first(0);
    let range = SeqRange { lo: seq, hi: seq };
    let mut messages = log.read_range(partition, range).await.unwrap();
    let message = messages.try_next().await.unwrap().unwrap();
    let appended = log.append(partition, "again", message.payload, Vec::new());
    assert!(!appended.await.unwrap().duplicate);
}

#[tokio::test]
async fn an_append_with_a_condition_whose_acknowledgement_was_lost_is_never_answered_as_not_stored()
{
    let (world, relay, _ingest) = World::start_behind_a_relay().await;
    let world = Arc::new(world);
    let [other, own] = ["other", "own"].map(|name| conversations(name, 1).remove(0));
    position(append(&world, &other, None).await.unwrap()).await;
    let path = format!("/v1/conversations/{own}/events?receipts=all");
    let event = world.post(&path).body(json!({"type": "t"}).to_string());
    let last = position(event.send().await.unwrap()).await.to_string();

    relay.lose(Loss::Requests, &own);
    let request = append(&world, &own, Some(&last));
    eventually("it is on its way", async || relay.seen() == 1).await;
    let log = EventLog::connect(&world.nats.url, "test").await.unwrap();
    append_again(&log, 1).await;
    // The log refuses the third attempt, when there is no time to look for the first and the second.
    eventually("it was sent again", async || relay.seen() == 2).await;
    relay.cut();
    let (status, problem) = problem(request.await.unwrap()).await;
    assert_eq!((status, problem["code"].as_str().unwrap()), LOST);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("may have been stored"), "{detail}");

    position(append(&world, &own, Some(&last)).await.unwrap()).await;
    let stored = world.stored().await.into_iter();
    let own = stored.filter(|(_, event)| event.content == own);
    assert_eq!(own.count(), 1);
}
