use std::time::Duration;

use futures::StreamExt as _;
use reqwest::Response;
use serde_json::Value;
use testkit::eventually;
use tokio::time::Instant;

use crate::world::{CONVERSATIONS, World, event, id, number};

/// Server-sent events as a client sees them.
pub(crate) struct Tail {
    answer: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Tail {
    pub(crate) fn new(answer: Response) -> Self {
        Self {
            answer: Box::pin(answer.bytes_stream()),
            text: String::new(),
        }
    }

    /// All that comes until the stream ends.
    pub(crate) async fn rest(mut self) -> String {
        let rest = async {
            while let Some(chunk) = self.answer.next().await {
                self.text
                    .push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), rest).await;
        ended.expect("the tail ends");
        self.text
    }

    /// The next text with an event, also one that says what is missing.
    pub(crate) async fn next_of_any_kind(&mut self) -> String {
        while !self.text.contains("data: ") {
            let chunk = self.answer.next().await.expect("the tail goes on").unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        std::mem::take(&mut self.text)
    }

    /// The next event: its id and its data.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        // Comments come all the time.
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let lines = block.lines();
                    lines
                        .filter_map(|line| line.strip_prefix(name))
                        .next()
                        .map(str::to_owned)
                };
                assert_eq!(field("event: "), None, "{block}");
                if let Some(data) = field("data: ") {
                    return (field("id: ").unwrap(), serde_json::from_str(&data).unwrap());
                }
                continue;
            }
            let next = tokio::time::timeout_at(deadline, self.answer.next());
            let chunk = next
                .await
                .expect("an event comes")
                .expect("the tail goes on")
                .unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn a_tail_goes_from_history_to_live_and_resumes_without_gap_or_repeat() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    world.publish(0..30, 3).await;
    let path = format!("/v1/conversations/{}/tail", id(0));
    let total = 300;
    let publish = async {
        for start in (30..total).step_by(3) {
            world.publish(start..start + 3, 3).await;
        }
    };
    let follow = async {
        let (mut found, mut last) = (Vec::new(), None::<String>);
        while found.len() < usize::try_from(total / CONVERSATIONS).unwrap() {
            // A new connection every seven events, as a bad network would have it.
            let mut tail = Tail::new(world.tail(&path, last.as_deref()).await);
            for _ in 0..7 {
                if found.len() == usize::try_from(total / CONVERSATIONS).unwrap() {
                    break;
                }
                let (id, data) = tail.next().await;
                assert_eq!(data["position"], id);
                found.push(number(&data));
                last = Some(id);
            }
        }
        found
    };
    let ((), found) = tokio::join!(publish, follow);
    let expected: Vec<u64> = (0..total).filter(|n| n % CONVERSATIONS == 0).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_tail_wakes_for_its_own_conversation_and_goes_when_its_client_goes() {
    let world = World::start().await;
    world.publish(0..3, 3).await;
    let path = format!("/v1/conversations/{}/tail?type=output.*", id(0));
    let mut tail = Tail::new(world.tail(&path, None).await);
    assert_eq!(number(&tail.next().await.1), 0);
    assert!(world.metrics().await.contains("isotherm_tail_clients 1"));
    world.publish(3..13, 1).await;
    // 3 is output.other, 6 is error, 9 is tool.call, 12 is output.chunk.
    assert_eq!(number(&tail.next().await.1), 3);
    assert_eq!(number(&tail.next().await.1), 12);
    drop(tail);
    eventually("the tail is gone", async || {
        world.metrics().await.contains("isotherm_tail_clients 0")
    })
    .await;
}

#[tokio::test]
async fn a_repeated_event_comes_once_and_a_restart_of_the_log_is_not_seen() {
    let mut world = World::start().await;
    world.publish(0..30, 3).await;
    let path = format!("/v1/conversations/{}/tail", id(1));
    let mut tail = Tail::new(world.tail(&path, None).await);
    for expected in [1, 4, 7] {
        assert_eq!(number(&tail.next().await.1), expected);
    }
    world.publish(0..30, 4).await;
    world.nats.restart().await;
    world.publish(30..33, 3).await;
    for expected in (10..33).step_by(3) {
        assert_eq!(number(&tail.next().await.1), expected);
    }
}

#[tokio::test]
async fn a_tenants_tail_begins_now_and_resumes_in_every_partition() {
    let world = World::start().await;
    world.publish(0..30, 3).await;
    let mut tail = Tail::new(world.tail("/v1/tail", None).await);
    let mut found = Vec::new();
    let mut last = String::new();
    world.publish(30..60, 2).await;
    for _ in 0..11 {
        let (id, data) = tail.next().await;
        found.push(number(&data));
        last = id;
    }
    drop(tail);
    world.publish(60..90, 5).await;
    let mut tail = Tail::new(world.tail("/v1/tail", Some(&last)).await);
    while found.len() < 60 {
        found.push(number(&tail.next().await.1));
    }
    for conversation in 0..CONVERSATIONS {
        let own: Vec<u64> = found
            .iter()
            .copied()
            .filter(|n| n % CONVERSATIONS == conversation)
            .collect();
        let expected: Vec<u64> = (30..90)
            .filter(|n| n % CONVERSATIONS == conversation)
            .collect();
        assert_eq!(own, expected, "conversation {conversation}");
    }
    let mut errors = Tail::new(world.tail("/v1/tail?type=error", None).await);
    world.publish(90..94, 4).await;
    assert_eq!(errors.next().await.1["type"], event(90).event_type.as_str());
}

#[tokio::test]
async fn a_last_event_id_that_is_no_place_is_refused_with_what_one_looks_like() {
    let world = World::start().await;
    let url = |path: &str| format!("{}{path}", world.url());
    for path in ["/v1/conversations/c/tail", "/v1/tail"] {
        for last in ["garbage", "0001-0000-0001", "%ff", &"a".repeat(5000)] {
            let request = world.http.get(url(path)).header("last-event-id", last);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 400, "{path} {last}");
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["code"], "invalid_position", "{problem}");
            assert_eq!(problem["type"], "urn:isotherm:problem:invalid_position");
        }
    }
}

#[tokio::test]
async fn two_hundred_clients_follow_one_conversation_without_gap_or_repeat() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    let path = format!("/v1/conversations/{}/tail", id(0));
    let mut tails = Vec::new();
    for _ in 0..200 {
        tails.push(Tail::new(world.tail(&path, None).await));
    }
    world.publish(0..60, 3).await;
    let follow = tails.iter_mut().map(async |tail| {
        let mut found = Vec::new();
        while found.len() < 20 {
            found.push(number(&tail.next().await.1));
        }
        found
    });
    let expected: Vec<u64> = (0..60).step_by(3).collect();
    for found in futures::future::join_all(follow).await {
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_newcomer_gets_the_slot_of_an_idle_tail_which_resumes_without_loss() {
    let world = World::start_with(&["--max-tail-clients", "2"]).await;
    let _writer = world.hot_writer();
    world.publish(0..3, 3).await;
    let path = format!("/v1/conversations/{}/tail", id(0));
    let mut idle = Tail::new(world.tail(&path, None).await);
    let (last, _) = idle.next().await;
    let _other = world.tail(&path, None).await;
    let newcomer = crate::memory::client_at([127, 0, 0, 2]);
    let url = format!("{}{path}", world.url());
    let answer = newcomer.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut admitted = Tail::new(answer);
    assert_eq!(number(&admitted.next().await.1), 0);
    let end = idle.rest().await;
    assert!(end.contains(": ended for another client"), "{end:?}");
    world.publish(3..6, 3).await;
    let mut resumed = Tail::new(world.tail(&path, Some(&last)).await);
    assert_eq!(number(&resumed.next().await.1), 3);
}
