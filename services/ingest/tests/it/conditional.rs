//! `If-Match` on a conversation.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use bytes::Bytes;
use event::{Position, Timestamp};
use event_log::{DeadLetter, EventLog, Watermark};
use futures::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};

use crate::world::{World, lines, ok, problem};

/// Appends the event `id` to `conversation`, with `If-Match: last` when that is given.
async fn append(world: &World, conversation: &str, id: &str, last: Option<&str>) -> Response {
    let path = format!("/v1/conversations/{conversation}/events?receipts=all");
    let mut request = world.post(&path);
    if let Some(last) = last {
        request = request.header("if-match", format!("\"{last}\""));
    }
    let event = json!({"event_id": id, "type": "output.chunk", "content": "1"});
    request.body(event.to_string()).send().await.unwrap()
}

fn position(receipt: &Value) -> String {
    receipt["receipts"][0]["position"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn an_append_at_the_end_of_a_conversation_succeeds_and_others_get_the_current_end() {
    let (world, _ingest) = World::start().await;
    let first = position(&ok(append(&world, "c", "a", None).await).await);
    // Other writers append to the same partition meanwhile.
    world.append(lines(0..50)).await;
    let second = ok(append(&world, "c", "b", Some(&first)).await).await;
    assert_eq!(
        (&second["acked"], &second["duplicates"]),
        (&json!(1), &json!(0))
    );
    let second = position(&second);

    let refused = append(&world, "c", "x", Some(&first)).await;
    let (status, refused) = problem(refused).await;
    assert_eq!(
        (status, &refused["code"]),
        (412, &json!("position_mismatch"))
    );
    assert_eq!(refused["current"], json!(second));
    ok(append(&world, "c", "c", Some(&second)).await).await;

    let contents = world.stored().await.into_iter();
    let in_conversation = contents.filter(|(_, event)| event.conversation_id.as_str() == "c");
    assert_eq!(in_conversation.count(), 3);
}

#[tokio::test]
async fn of_many_writers_with_one_position_one_succeeds_while_others_write_elsewhere() {
    let (world, _ingest) = World::start().await;
    let mut last = position(&ok(append(&world, "c", "start", None).await).await);
    for round in 0..10 {
        let noise = world.append(lines(round * 100..round * 100 + 100));
        let ids: Vec<String> = (0..8).map(|n| format!("r{round}w{n}")).collect();
        let writers = ids.iter().map(|id| append(&world, "c", id, Some(&last)));
        let (_, answers) = tokio::join!(noise, join_all(writers));
        let mut won = Vec::new();
        for answer in answers {
            if answer.status() == 412 {
                continue;
            }
            won.push(position(&ok(answer).await));
        }
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        last = won.remove(0);
    }
    let stored = world.stored().await.into_iter();
    let in_conversation = stored.filter(|(_, event)| event.conversation_id.as_str() == "c");
    assert_eq!(in_conversation.count(), 11);
}

#[tokio::test]
async fn a_retry_of_a_stored_append_succeeds_whatever_was_appended_since() {
    let (world, _ingest) = World::start().await;
    let first = position(&ok(append(&world, "c", "a", None).await).await);
    let second = position(&ok(append(&world, "c", "b", Some(&first)).await).await);
    ok(append(&world, "c", "later", None).await).await;
    let again = ok(append(&world, "c", "b", Some(&first)).await).await;
    assert_eq!(again["duplicates"], 1);
    assert_eq!(position(&again), second);
}

#[tokio::test]
async fn conditions_that_cannot_be_checked_are_refused_and_not_ignored() {
    let (world, _ingest) = World::start().await;
    let first = position(&ok(append(&world, "c", "a", None).await).await);
    let send = async |path: &str, last: &str, body: String| {
        let request = world.post(path).header("if-match", format!("\"{last}\""));
        let (status, problem) = problem(request.body(body).send().await.unwrap()).await;
        (status, problem["code"].as_str().unwrap().to_owned())
    };
    let event = || r#"{"type":"t"}"#.to_owned();
    let refused = |status, code: &str| (status, code.to_owned());
    let path = "/v1/conversations/c/events";
    assert_eq!(
        send("/v1/events", &first, lines(0..1)).await,
        refused(400, "invalid_condition")
    );
    assert_eq!(
        send(path, "*", event()).await,
        refused(400, "invalid_condition")
    );
    let elsewhere = "0001-0009-0001-00000000000000000001-0000";
    assert_eq!(
        send(path, elsewhere, event()).await,
        refused(400, "invalid_condition")
    );
    let many = event().repeat(501);
    assert_eq!(
        send(path, &first, many).await,
        refused(413, "condition_too_large")
    );
    let nowhere = format!("{}-0007", &first[..first.len() - 5]);
    assert_eq!(
        send(path, &nowhere, event()).await,
        refused(412, "position_mismatch")
    );

    let log = EventLog::connect(&world.nats.url, "test").await.unwrap();
    ok(append(&world, "c", "b", None).await).await;
    let position: Position = first.parse().unwrap();
    log.purge_through(position.partition, position.seq)
        .await
        .unwrap();
    assert_eq!(
        send(path, &first, event()).await,
        refused(409, "position_out_of_reach")
    );
}

#[tokio::test]
async fn a_retry_with_other_content_is_no_retry() {
    let (world, _ingest) = World::start().await;
    let first = position(&ok(append(&world, "c", "a", None).await).await);
    let second = position(&ok(append(&world, "c", "b", Some(&first)).await).await);
    let path = "/v1/conversations/c/events";
    let request = world.post(path).header("if-match", format!("\"{first}\""));
    let other = json!({"event_id": "b", "type": "output.chunk", "content": "2"});
    let (status, refused) = problem(request.body(other.to_string()).send().await.unwrap()).await;
    assert_eq!((status, &refused["current"]), (412, &json!(second)));
}

#[tokio::test]
async fn a_message_that_cannot_be_read_leaves_the_end_unknown_until_a_person_has_decided() {
    let (world, _ingest) = World::start().await;
    let first = position(&ok(append(&world, "c", "a", None).await).await);
    let log = EventLog::connect(&world.nats.url, "test").await.unwrap();
    let partition = first.parse::<Position>().unwrap().partition;
    let payload = Bytes::from_static(b"garbage");
    let garbage = log.append(partition, "garbage", payload.clone(), Vec::new());
    let seq = garbage.await.unwrap().seq;
    let unknown = async || {
        let (status, refused) = problem(append(&world, "c", "b", Some(&first)).await).await;
        assert_eq!((status, &refused["code"]), (409, &json!("end_unknown")));
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.contains("isotherm dlq"), "{detail}");
    };
    unknown().await;
    // As the compactor does: the letter, then the watermark.
    let letter = DeadLetter {
        position: Position::new(partition, seq, 0),
        received_at: Timestamp::now(),
        reason: "garbage".to_owned(),
        tenant: None,
        payload,
    };
    log.store_dead_letter(&letter).await.unwrap();
    let watermark = Watermark::Warm {
        partition,
        committed: seq,
        sealed: 0,
        events: 0,
        bytes: 0,
        oldest_at: None,
        flight_url: String::new(),
    };
    log.publish_watermark(&watermark).await.unwrap();
    unknown().await;
    assert!(log.close_dead_letter(letter.position).await.unwrap());
    ok(append(&world, "c", "b", Some(&first)).await).await;
}

#[tokio::test]
async fn hundreds_of_stale_conditions_cost_one_read_of_the_log_and_no_honest_append() {
    let (world, _ingest) = World::start().await;
    let first = position(&ok(append(&world, "c", "a", None).await).await);
    // One after the other: requests that wait together would share a message.
    for n in 0..1000 {
        ok(append(&world, "c", &format!("n{n}"), None).await).await;
    }
    let honest = async |name: &str| {
        let began = Instant::now();
        for n in 0..30 {
            ok(append(&world, "other", &format!("{name}{n}"), None).await).await;
        }
        began.elapsed()
    };
    // Of 400 clients that send requests with `condition` all the time, beside the honest one.
    let crowd = async |name: &str, condition: &str, refusal: u16| {
        let over = AtomicBool::new(false);
        let client = async |n: usize| {
            let mut refused = 0;
            while !over.load(Ordering::Relaxed) {
                let answer = append(&world, "c", &format!("s{n}"), Some(condition)).await;
                let status = answer.status().as_u16();
                assert!(status == refusal || status == 429, "{status}");
                refused += u32::from(status == refusal);
            }
            refused
        };
        let beside = async {
            let beside = honest(name).await;
            over.store(true, Ordering::Relaxed);
            beside
        };
        tokio::join!(beside, join_all((0..400).map(client)))
    };
    let (beside_malformed, _) = crowd("malformed", "\"nonsense\"", 400).await;
    let (beside_stale, refused) = crowd("stale", &first, 412).await;
    // To refuse a stale one takes not much longer than one that is never looked at.
    assert!(
        beside_stale < beside_malformed * 5,
        "{beside_malformed:?} beside malformed ones, {beside_stale:?} beside stale ones"
    );
    let refused: u32 = refused.into_iter().sum();
    assert!(refused >= 10, "{refused}");
    // The log has each message at most once, whoever asks.
    let read = world.metric("isotherm_ingest_condition_messages_read_total");
    let read = read.await.unwrap();
    assert!((1001..=1100).contains(&read), "{read}");
}
