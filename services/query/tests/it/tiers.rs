use testkit::eventually;

use crate::{
    sql::assert_rollups,
    world::{World, count, id, numbers},
};

#[tokio::test]
async fn what_is_sealed_is_read_from_warm_when_memory_and_log_are_gone() {
    let world = World::start().await;
    let writer = world.hot_writer();
    let compactor = world.compactor(&["--seal-after", "300ms"]);
    world.publish(0..60, 3).await;
    world.until("warm", "sealed").await;
    world.assert_all(60).await;
    assert_rollups(&world).await;

    writer.kill().await;
    world.valkey.flush().await;
    for (partition, last) in world.last().await {
        world.log.purge_through(partition, last).await.unwrap();
    }
    world.assert_all(60).await;
    let answer = world
        .get(&format!("/v1/conversations/{}/events", id(0)))
        .await;
    assert_eq!(answer.headers()["isotherm-tiers"], "warm");
    assert_rollups(&world).await;

    // Sealed, being written and not written yet, in one answer.
    world.publish(60..90, 3).await;
    world.assert_all(90).await;
    assert_rollups(&world).await;

    compactor.kill().await;
    let path = format!("/v1/conversations/{}/events?order=asc", id(0));
    let answer = world.get(&path).await;
    assert_eq!(answer.headers()["isotherm-complete"], "false");
    let (_, answer) = world.json(&path).await;
    assert_eq!(answer["missing"][0]["from"], 1, "{answer}");
    assert!(
        numbers(&answer).len() >= 10,
        "the log still answers: {answer}"
    );
    let (_, newest) = world
        .json(&format!("/v1/conversations/{}/events?limit=5", id(0)))
        .await;
    assert_eq!(numbers(&newest), [87, 84, 81, 78, 75]);
    assert_eq!(
        newest["complete"], false,
        "any of these may be in the gap too"
    );
    let (_, sql) = world.sql("SELECT count(*) FROM events").await;
    assert_eq!(sql["complete"], false, "{sql}");

    let _compactor = world.compactor(&["--seal-after", "300ms"]);
    eventually("the compactor answers again", async || {
        world.read(0).await.1["complete"] == true
    })
    .await;
    world.assert_all(90).await;
}

#[tokio::test]
async fn an_event_sent_twice_is_one_event_in_every_tier() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    let _compactor = world.compactor(&["--seal-after", "300ms"]);
    world.publish(0..60, 3).await;
    world.publish(0..60, 5).await;
    world.assert_all(60).await;
    world.until("warm", "sealed").await;
    world.assert_all(60).await;
    assert_rollups(&world).await;
    let (_, sql) = world
        .sql("SELECT count(*), count(DISTINCT event_id) FROM events")
        .await;
    assert_eq!(sql["rows"][0], serde_json::json!([60, 60]));
}

/// Whatever moves while it is read, every event is there once.
#[tokio::test]
async fn events_that_move_between_tiers_while_they_are_read_are_read_once() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    let _compactor = world.compactor(&["--seal-after", "200ms", "--seal-bytes", "500B"]);
    world.publish(0..30, 3).await;
    world.until("warm", "committed").await;
    for round in 0..20_u64 {
        world.publish(round * 30..round * 30 + 30, 3).await;
        world.assert_all(round * 30 + 30).await;
        let (status, sql) = world.sql("SELECT count(*) FROM events").await;
        assert_eq!(
            (status, &sql["rows"][0][0]),
            (200, &(round * 30 + 30).into()),
            "{sql}"
        );
    }
}

#[tokio::test]
async fn tiers_and_watermarks_say_what_lies_where() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    world.publish(0..30, 3).await;
    world.until("hot", "last").await;
    let (status, tiers) = world.json("/v1/tiers").await;
    assert_eq!(status, 200);
    assert_eq!(tiers["tiers"][0]["tier"], "hot");
    assert_eq!(tiers["tiers"][0]["events"], 30, "{tiers}");
    assert!(tiers["tiers"][0]["bytes_per_event"].as_f64().unwrap() > 1.0);
    let partitions = tiers["partitions"].as_array().unwrap().len();
    assert_eq!(partitions, usize::from(count().get()));
    let (_, watermarks) = world.json("/v1/watermarks").await;
    let name = world.log.store_id().await.unwrap().unwrap().to_string();
    assert_eq!(watermarks["store"], name, "{watermarks}");
    let metrics = world.metrics().await;
    assert!(
        metrics.contains("isotherm_query_duration_seconds_count{api=\"tiers\"}"),
        "{metrics}"
    );
    assert!(world.query.stdout().contains("serving"));
}
