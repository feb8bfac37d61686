use serde_json::{Value, json};

use crate::world::{World, id};

pub(crate) fn cell(answer: &(u16, Value)) -> Value {
    assert_eq!(answer.0, 200, "{}", answer.1);
    answer.1["rows"][0][0].clone()
}

#[tokio::test]
async fn a_select_sees_what_is_in_the_log_already() {
    let world = World::start().await;
    let _writer = world.hot_writer();
    let _compactor = world.compactor(&[]);
    assert_eq!(cell(&world.sql("SELECT count(*) FROM events").await), 0);
    world.publish(0..1, 1).await;
    world.until("warm", "committed").await;
    world.publish(1..30, 3).await;
    assert_eq!(cell(&world.sql("SELECT count(*) FROM events").await), 30);
    world.until("hot", "last").await;
    assert_eq!(cell(&world.sql("SELECT count(*) FROM events").await), 30);
    let answer = world
        .sql(format!(
            "SELECT position, content, timestamp FROM events \
             WHERE conversation_id = '{}' AND type = 'error' ORDER BY position",
            id(0)
        ))
        .await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert_eq!(
        answer.1["columns"][1],
        json!({"name": "content", "type": "Utf8"})
    );
    let rows = answer.1["rows"].as_array().unwrap();
    let contents: Vec<&str> = rows.iter().map(|row| row[1].as_str().unwrap()).collect();
    assert_eq!(contents, ["chunk 6", "chunk 18"]);
    assert!(rows[0][2].as_str().unwrap().ends_with('Z'), "{rows:?}");
    let (_, page) = world
        .json(&format!(
            "/v1/conversations/{}/events?type=error&order=asc",
            id(0)
        ))
        .await;
    assert_eq!(rows[0][0], page["events"][0]["position"]);
    assert_eq!(answer.1["complete"], true);
    assert_eq!(answer.1["tiers"], json!(["warm"]));
}

#[tokio::test]
async fn many_unsealed_events_are_read_from_files_and_sealed_between_two_statements() {
    let world = World::start().await;
    let compactor = world.compactor(&["--seal-after", "1h"]);
    let events = 240_000;
    world.publish(0..events, 500).await;
    world.until("warm", "committed").await;
    let statements = [
        "SELECT count(*) FROM events",
        "SELECT count(*) FROM events WHERE content LIKE 'chunk %'",
        "SELECT sum(n) FROM (SELECT conversation_id, count(*) AS n FROM events GROUP BY ALL)",
        "SELECT count(DISTINCT position) FROM events",
    ];
    for sql in statements {
        assert_eq!(cell(&world.sql(sql).await), events, "{sql}");
    }
    assert!(world.open_runs() > 0);
    drop(compactor);
    let _compactor = world.compactor(&["--seal-after", "1s"]);
    world.until("warm", "sealed").await;
    for sql in statements {
        assert_eq!(cell(&world.sql(sql).await), events, "{sql}");
    }
    assert_eq!(world.open_runs(), 0);
}

#[tokio::test]
async fn rollups_say_what_a_full_scan_says() {
    let world = World::start().await;
    let _compactor = world.compactor(&[]);
    world.publish(0..90, 4).await;
    world.until("warm", "committed").await;
    assert_rollups(&world).await;
    let hours = world.json("/v1/stats/hourly?type=error").await.1;
    let events: i64 = hours["hours"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| h["events"].as_i64().unwrap())
        .sum();
    assert_eq!(events, 22);
    let (_, page) = world.json("/v1/conversations?limit=2").await;
    assert_eq!(page["conversations"][0]["conversation_id"], id(2));
    let next = page["next"].as_str().unwrap();
    let (_, rest) = world
        .json(&format!("/v1/conversations?limit=2&after={next}"))
        .await;
    assert_eq!(rest["conversations"][0]["conversation_id"], id(0));
    assert_eq!(
        (
            &rest["next"],
            rest["conversations"].as_array().unwrap().len()
        ),
        (&Value::Null, 1)
    );
}

/// Both rollup tables equal what a full scan of `events` gives.
pub(crate) async fn assert_rollups(world: &World) {
    let hourly = "(SELECT date_trunc('hour', timestamp) AS hour, type, count(*) AS events, \
                  sum(content_len)::BIGINT AS bytes FROM events GROUP BY ALL)";
    let summary = "(SELECT conversation_id, count(*) AS events, sum(content_len)::BIGINT AS bytes, \
                   min(timestamp) AS first_timestamp, max(timestamp) AS last_timestamp, \
                   arg_min(timestamp, (seq, idx)) AS start_timestamp, max(seq) AS last_seq, \
                   count(*) FILTER (type LIKE 'error%') AS errors FROM events GROUP BY ALL)";
    for (table, scan) in [("hourly_stats", hourly), ("conversation_summary", summary)] {
        let same = format!(
            "SELECT (SELECT count(*) FROM (FROM {table} EXCEPT ALL FROM {scan})) + \
             (SELECT count(*) FROM (FROM {scan} EXCEPT ALL FROM {table}))"
        );
        assert_eq!(cell(&world.sql(same).await), 0, "{table}");
        let rows = cell(&world.sql(format!("SELECT count(*) FROM {table}")).await);
        assert!(rows.as_i64().unwrap() > 0, "{table}");
    }
}

#[tokio::test]
async fn hostile_statements_are_refused_and_the_service_lives() {
    let world = World::start_with(&["--sql-timeout", "2s"]).await;
    let _compactor = world.compactor(&[]);
    world.publish(0..30, 3).await;
    world.until("warm", "committed").await;
    let deep = format!("SELECT {}1{}", "(".repeat(30_000), ")".repeat(30_000));
    let long = format!("SELECT '{}'", "x".repeat(70_000));
    for (sql, status, code) in [
        ("INSERT INTO events VALUES (1)", 400, "sql_not_allowed"),
        ("DROP VIEW events", 400, "sql_not_allowed"),
        ("COPY (SELECT 1) TO '/tmp/x.csv'", 400, "sql_not_allowed"),
        ("ATTACH '/tmp/x.db'", 400, "sql_not_allowed"),
        ("INSTALL httpfs", 400, "sql_not_allowed"),
        ("LOAD 'httpfs'", 400, "sql_not_allowed"),
        ("PRAGMA database_list", 400, "sql_not_allowed"),
        ("SET memory_limit = '100GB'", 400, "sql_not_allowed"),
        ("SELECT 1; SELECT 2", 400, "sql_not_allowed"),
        (
            "SELECT * FROM read_text('/etc/passwd')",
            400,
            "sql_not_allowed",
        ),
        ("SELECT * FROM '/etc/passwd'", 400, "sql_not_allowed"),
        ("SELECT * FROM glob('/*')", 400, "sql_not_allowed"),
        ("", 400, "sql_invalid"),
        (r#"{"sql": "SELECT 1"}"#, 400, "sql_invalid"),
        ("SELECT nothing FROM events", 400, "sql_invalid"),
        ("SELECT error('x')", 400, "sql_invalid"),
        (&deep, 400, "sql_invalid"),
        (&long, 413, "statement_too_large"),
        ("SELECT * FROM range(2000000)", 422, "result_too_large"),
        (
            "SELECT count(*) FROM range(1000000000000) a, range(1000) b WHERE hash(a.range) = b.range",
            422,
            "sql_timeout",
        ),
    ] {
        let (found, problem) = world.sql(sql.to_owned()).await;
        let sql: String = sql.chars().take(80).collect();
        assert_eq!(
            (found, problem["code"].as_str()),
            (status, Some(code)),
            "{sql}: {problem}"
        );
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{sql}");
    }
    let (status, problem) = world.sql(vec![0xff, 0xfe]).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (400, Some("sql_invalid"))
    );
    let (status, problem) = world
        .sql_with("?max_bytes=10", "SELECT * FROM events")
        .await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (422, Some("scan_too_large"))
    );
    let (status, problem) = world.sql_with("?timeout=1h", "SELECT 1").await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (400, Some("invalid_parameter"))
    );
    assert_eq!(cell(&world.sql("SELECT count(*) FROM events").await), 30);
}
