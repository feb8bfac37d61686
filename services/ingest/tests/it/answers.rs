use std::{collections::HashMap, io::Write as _};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use crate::world::{World, lines, numbers, ok};

#[tokio::test]
async fn an_acknowledged_event_is_in_the_log_once_however_often_it_is_sent() {
    let (world, _ingest) = World::start().await;

    let first = world.append(lines(0..1200)).await;
    let again = world.append(lines(0..1200)).await;

    assert_eq!(
        (&first["acked"], &first["duplicates"]),
        (&json!(1200), &json!(0))
    );
    assert_eq!(
        (&again["acked"], &again["duplicates"]),
        (&json!(1200), &json!(1200))
    );
    assert_eq!(first["watermark"], again["watermark"]);
    let stored = world.stored().await;
    assert_eq!(numbers(&stored), (0..1200).collect::<Vec<_>>());
    for (partition, seq) in first["watermark"].as_object().unwrap() {
        let in_partition = stored.iter().map(|(position, _)| position);
        let last = in_partition.filter(|p| p.partition.to_string() == *partition);
        assert_eq!(last.map(|p| p.seq).max(), seq.as_u64());
    }
}

#[tokio::test]
async fn receipts_have_the_position_of_each_event() {
    let (world, _ingest) = World::start().await;
    let body = lines((0..40).chain([3]));

    let send = async || {
        let request = world.post("/v1/events?receipts=all").body(body.clone());
        ok(request.send().await.unwrap()).await
    };
    let (first, again) = (send().await, send().await);

    assert_eq!(
        (&first["acked"], &first["duplicates"]),
        (&json!(41), &json!(1))
    );
    assert_eq!(again["duplicates"], 41);
    let by_position: HashMap<_, _> = world
        .stored()
        .await
        .into_iter()
        .map(|(position, event)| (position.to_string(), event))
        .collect();
    let receipts = first["receipts"].as_array().unwrap();
    for (index, receipt) in receipts.iter().enumerate() {
        let event = &by_position[receipt["position"].as_str().unwrap()];
        let number = if index == 40 { 3 } else { index };
        assert_eq!(event.content, number.to_string());
        assert_eq!(receipt["event_id"], event.event_id.to_string());
        assert_eq!(receipt["duplicate"], index == 40);
        let second = &again["receipts"][index];
        assert_eq!(second["position"], receipt["position"]);
        assert_eq!(second["duplicate"], true);
    }
}

#[tokio::test]
async fn compressed_and_plain_bodies_of_every_format_are_accepted() {
    let (world, _ingest) = World::start().await;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(lines(0..300).as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(lines(300..600).as_bytes(), 3).unwrap();
    let array = format!("[{}]", lines(600..603).trim().replace('\n', ","));

    for (encoding, content_type, body) in [
        ("gzip", "application/x-ndjson", gzip),
        ("zstd", "application/x-ndjson", zstd),
        ("identity", "application/json", array.into_bytes()),
        ("identity", "application/json", lines(603..604).into_bytes()),
    ] {
        let request = world.post("/v1/events").body(body);
        let request = request.header("content-encoding", encoding);
        let request = request.header("content-type", content_type);
        ok(request.send().await.unwrap()).await;
    }

    assert_eq!(numbers(&world.stored().await), (0..604).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_path_names_the_conversation() {
    let (world, _ingest) = World::start().await;
    let request = world.post("/v1/conversations/run%2F1:x/events");
    let request = request.body(r#"{"type":"output.chunk","content":"7"}"#);
    let answer = ok(request.send().await.unwrap()).await;
    assert_eq!(answer["acked"], 1);
    let stored = world.stored().await;
    assert_eq!(stored[0].1.conversation_id.as_str(), "run/1:x");
}

#[tokio::test]
async fn a_partial_request_stores_its_valid_items() {
    let (world, _ingest) = World::start().await;
    let body = format!("{}{{\"type\":\"t\"}}\nnonsense\n", lines(0..2));
    let request = world.post("/v1/events?partial=true&receipts=all");
    let request = request.header("content-type", "application/x-ndjson");
    let answer = ok(request.body(body).send().await.unwrap()).await;

    assert_eq!(
        (&answer["acked"], &answer["rejected_total"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(answer["receipts"].as_array().unwrap().len(), 2);
    let rejected = &answer["rejected"];
    assert_eq!(rejected[0]["index"], 2);
    assert_eq!(rejected[0]["code"], "missing_conversation");
    assert_eq!(rejected[1]["code"], "malformed_json");
    assert_eq!(numbers(&world.stored().await), [0, 1]);
}

#[tokio::test]
async fn a_large_request_and_the_largest_event_are_accepted() {
    let (world, _ingest) = World::start().await;
    let content = "x".repeat(255 * 1024);
    let large = format!(r#"{{"conversation_id":"c","type":"t","content":"{content}"}}"#);
    let answer = world.append(large).await;
    assert_eq!(answer["acked"], 1);
    let answer = world.append(lines(0..50_000)).await;
    assert_eq!(answer["acked"], 50_000);
    assert_eq!(world.stored().await.len(), 50_001);
}

#[tokio::test]
async fn the_trace_is_propagated_into_the_log() {
    let (world, _ingest) = World::start().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = world.post("/v1/events").body(lines(0..1));
    let request = request.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    ok(request.send().await.unwrap()).await;
    let (_, event) = &world.stored().await[0];
    assert_eq!(event.trace_id.as_deref(), Some(trace));
    assert_eq!(event.span_id.as_deref(), Some("b7ad6b7169203331"));
}

#[tokio::test]
async fn events_are_counted_by_result() {
    let (world, ingest) = World::start().await;
    world.append(lines(0..10)).await;
    world.append(lines(0..10)).await;
    let refused = world.post("/v1/events").body("5").send().await.unwrap();
    assert_eq!(refused.status(), 422);

    let metrics = world.client.get(world.admin("metrics")).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    for (result, count) in [("acked", 10), ("duplicate", 10), ("rejected", 1)] {
        let line = format!(
            "isotherm_ingest_events_total{{protocol=\"json\",result=\"{result}\"}} {count}"
        );
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    for name in [
        "isotherm_ingest_bytes_total",
        "isotherm_ingest_request_duration_seconds_bucket",
        "isotherm_log_append_duration_seconds_count",
    ] {
        assert!(metrics.contains(name), "{name}");
    }
    assert!(ingest.stop().await.success());
}

#[tokio::test]
async fn the_store_id_is_the_same_after_a_restart() {
    let (world, ingest) = World::start().await;
    let store_id = async || {
        let url = format!("http://127.0.0.1:{}/v1/store", world.port);
        ok(world.client.get(url).send().await.unwrap()).await
    };
    let first = store_id().await;
    assert!(first["store"].is_string(), "{first}");
    ingest.kill().await;
    let _ingest = world.ingest(&[]).await;
    assert_eq!(store_id().await, first);
}
