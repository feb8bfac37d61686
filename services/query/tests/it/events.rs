use serde_json::Value;
use testkit::eventually;

use crate::world::{World, id, numbers};

#[tokio::test]
async fn an_acknowledged_event_is_read_at_once_even_when_no_tier_has_it_yet() {
    let world = World::start().await;
    for end in 1..30 {
        world.publish(end - 1..end, 1).await;
        world.assert_all(end).await;
    }
    let answer = world
        .get(&format!("/v1/conversations/{}/events", id(0)))
        .await;
    assert_eq!(answer.headers()["isotherm-tiers"], "log");
    assert_eq!(answer.headers()["isotherm-complete"], "true");
}

#[tokio::test]
async fn pages_from_either_end_give_every_event_once() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    world.publish(0..60, 4).await;
    world.until("hot", "last").await;
    for (order, bound) in [("asc", "after"), ("desc", "before")] {
        let (mut all, mut next) = (Vec::new(), String::new());
        loop {
            let path = format!(
                "/v1/conversations/{}/events?order={order}&limit=7&{bound}={next}",
                id(1)
            );
            let (status, page) = world.json(&path).await;
            assert_eq!(status, 200, "{page}");
            all.extend(numbers(&page));
            match page["next"].as_str() {
                Some(text) => next = text.to_owned(),
                None => break,
            }
        }
        if order == "desc" {
            all.reverse();
        }
        assert_eq!(
            all,
            (0..60).filter(|n| n % 3 == 1).collect::<Vec<_>>(),
            "{order}"
        );
    }
    let (_, newest) = world
        .json(&format!("/v1/conversations/{}/events?limit=2", id(1)))
        .await;
    assert_eq!(numbers(&newest), [58, 55]);
}

#[tokio::test]
async fn types_are_filtered_by_globs() {
    let world = World::start().await;
    world.publish(0..40, 5).await;
    for (filter, wanted) in [
        ("type=error", vec![2]),
        ("type=output.*", vec![0, 3]),
        ("type=error,tool.call", vec![1, 2]),
        ("type=error&type=tool.*", vec![1, 2]),
        ("type=nothing", vec![]),
    ] {
        let path = format!(
            "/v1/conversations/{}/events?order=asc&limit=1000&{filter}",
            id(0)
        );
        let (_, answer) = world.json(&path).await;
        let expected: Vec<u64> = (0..40)
            .filter(|n| n % 3 == 0 && wanted.contains(&(n % 4)))
            .collect();
        assert_eq!(numbers(&answer), expected, "{filter}");
    }
}

#[tokio::test]
async fn an_event_sent_twice_is_shown_once() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    world.publish(0..30, 3).await;
    // Cut otherwise, so that the log takes them for new.
    world.publish(0..30, 4).await;
    world.assert_all(30).await;
    world.until("hot", "last").await;
    world.assert_all(30).await;
    let (_, newest) = world
        .json(&format!("/v1/conversations/{}/events", id(2)))
        .await;
    assert_eq!(newest["events"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn without_redis_or_its_writer_the_log_answers() {
    let mut world = World::start().await;
    let writer = world.hot_writer();
    world.publish(0..30, 3).await;
    world.until("hot", "last").await;
    let answer = world
        .get(&format!("/v1/conversations/{}/events", id(0)))
        .await;
    assert_eq!(answer.headers()["isotherm-tiers"], "hot");

    writer.kill().await;
    world.publish(30..60, 3).await;
    world.assert_all(60).await;
    let answer = world
        .get(&format!("/v1/conversations/{}/events", id(0)))
        .await;
    assert_eq!(answer.headers()["isotherm-tiers"], "hot,log");

    world.valkey.kill().await;
    world.assert_all(60).await;
    world.publish(60..70, 3).await;
    world.assert_all(70).await;
    assert!(world.is_ready().await, "redis is not required");

    world.valkey.restart().await;
    world.assert_all(70).await;
}

#[tokio::test]
async fn every_form_of_an_answer_has_the_same_rows() {
    let world = World::start().await;
    world.publish(0..9, 3).await;
    let path = format!("/v1/conversations/{}/events?order=asc", id(0));
    let (_, json) = world.json(&path).await;
    let lines = world.get_as(&path, "application/x-ndjson").await;
    assert_eq!(lines.headers()["content-type"], "application/x-ndjson");
    let lines = lines.text().await.unwrap();
    let parsed: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(Value::Array(parsed), json["events"]);
    let first = lines.lines().next().unwrap();
    assert!(first.starts_with(r#"{"position":"0001-000"#), "{first}");
    assert!(
        first.contains(r#""metadata":{"a": 1}"#),
        "byte for byte: {first}"
    );
    let csv = world.get_as(&path, "text/csv").await.text().await.unwrap();
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(csv.starts_with("position,tenant,conversation_id,"), "{csv}");
    let arrow = world
        .get_as(&path, "application/vnd.apache.arrow.stream")
        .await;
    let arrow = arrow.bytes().await.unwrap();
    let batches = arrow::ipc::reader::StreamReader::try_new(&arrow[..], None).unwrap();
    let rows: usize = batches.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 3);
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_code_and_a_sentence() {
    let world = World::start().await;
    world.publish(0..3, 3).await;
    let of = |rest: &str| format!("/v1/conversations/{}/{rest}", id(0));
    let other = "0001-0099-0001-00000000000000000001-0000";
    for (path, status, code) in [
        (of("events?limit=0"), 400, "invalid_limit"),
        (of("events?limit=10001"), 400, "invalid_limit"),
        (of("events?limit=many"), 400, "invalid_limit"),
        (of("events?order=newest"), 400, "invalid_order"),
        (of("events?after=12"), 400, "invalid_position"),
        (
            of(&format!("events?after={other}")),
            400,
            "invalid_position",
        ),
        (of("events?before=%00"), 400, "invalid_position"),
        (of("events?afetr=1"), 400, "unknown_parameter"),
        (of("tail?order=desc"), 400, "invalid_parameter"),
        (of("tail?after=x"), 400, "invalid_position"),
        ("/v1/tail?after=x".into(), 400, "invalid_position"),
        (
            "/v1/conversations/..%2F..%2Fetc/events".into(),
            400,
            "invalid_conversation_id",
        ),
        (
            "/v1/conversations/%F0%9F%98%80/events".into(),
            400,
            "invalid_conversation_id",
        ),
        (
            "/v1/conversations/a%00b/events".into(),
            400,
            "invalid_conversation_id",
        ),
        (
            "/v1/conversations?after=nonsense".into(),
            400,
            "invalid_cursor",
        ),
        (
            "/v1/stats/hourly?from=yesterday".into(),
            400,
            "invalid_time",
        ),
        ("/v1/nothing".into(), 404, "not_found"),
        ("/v1/sql".into(), 405, "method_not_allowed"),
    ] {
        let answer = world.get(&path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(
            answer.headers()["content-type"],
            "application/problem+json",
            "{path}"
        );
        if status == 405 {
            assert_eq!(answer.headers()["allow"], "POST");
        }
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(problem["code"], code, "{path}");
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{path}");
    }
    let unknown = world.json("/v1/conversations/nobody/events").await;
    assert_eq!((unknown.0, numbers(&unknown.1)), (200, vec![]));
    assert_eq!(unknown.1["complete"], true);
}

#[tokio::test]
async fn while_the_log_is_away_the_hot_tier_answers_and_says_so() {
    let mut world = World::start().await;
    let _writer = world.hot_writer();
    world.publish(0..30, 3).await;
    world.until("hot", "last").await;
    world.nats.kill().await;
    let path = format!("/v1/conversations/{}/events?order=asc", id(0));
    let (status, answer) = world.json(&path).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(numbers(&answer).len(), 10);
    assert_eq!(answer["complete"], false, "nobody knows what the log has");
    world.valkey.kill().await;
    let (status, problem) = world.json(&path).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (503, Some("nothing_readable"))
    );
    world.nats.restart().await;
    eventually("the log answers again", async || {
        let (status, answer) = world.json(&path).await;
        status == 200 && answer["complete"] == true && numbers(&answer).len() == 10
    })
    .await;
}
