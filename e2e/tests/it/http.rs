use reqwest::StatusCode;

use crate::{agents, world::World};

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_a_code_and_nothing_of_it_is_stored() {
    let world = World::start().await;
    let event = |members: &str| format!(r#"{{"conversation_id":"bad","type":"t"{members}}}"#);
    let deep = format!(
        r#","metadata":{}1{}"#,
        r#"{"a":"#.repeat(100_000),
        "}".repeat(100_000)
    );
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("malformed JSON", b"{\"conversation_id\": ".to_vec()),
        (
            "invalid UTF-8",
            b"{\"conversation_id\":\"bad\",\"type\":\"t\",\"content\":\"\xff\xfe\"}".to_vec(),
        ),
        (
            "a 257 KiB event",
            event(&format!(r#","content":"{}""#, "x".repeat(257 * 1024))).into(),
        ),
        ("a 17 MiB body", vec![b' '; 17 * 1024 * 1024]),
        ("no conversation", br#"{"type":"t"}"#.to_vec()),
        (
            "a day ahead",
            event(r#","timestamp":"2099-01-01T00:00:00Z""#).into(),
        ),
        ("deep JSON", event(&deep).into()),
        ("NUL", event(r#","content":"a\u0000b""#).into()),
        (
            "an emoji id",
            r#"{"conversation_id":"🦀","type":"t"}"#.as_bytes().to_vec(),
        ),
        (
            "a path id",
            br#"{"conversation_id":"../etc","type":"t"}"#.to_vec(),
        ),
        (
            "one bad of two",
            format!("{}\n{{\"type\":1}}", event("")).into(),
        ),
    ];
    for (what, body) in bodies {
        let answer = world
            .http
            .post(world.ingest("/v1/events"))
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        assert!(status.is_client_error(), "{what}: {status}");
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert!(problem["code"].is_string(), "{what}: {problem}");
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|text| text.contains(' ')),
            "{what}: {problem}"
        );
    }
    assert_eq!(world.read("bad").await.lines.len(), 0);
    let good = agents::run(31, 10, 1);
    world.post(&good, 10).await;
    world.assert_returns_exactly(&good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_that_is_more_than_one_select_is_refused_and_the_service_lives() {
    let world = World::start().await;
    let posted = agents::run(32, 50, 1);
    world.post(&posted, 50).await;
    let hostile = [
        "DROP TABLE events",
        "CREATE TABLE x AS SELECT 1",
        "INSERT INTO events SELECT * FROM events",
        "SELECT 1; SELECT 2",
        "COPY (SELECT 1) TO '/tmp/isotherm-must-not-exist'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "SET memory_limit='100GB'",
        "SELECT getenv('HOME')",
        "SELEC 1",
        "",
    ];
    for sql in hostile {
        let answer = world
            .http
            .post(world.query("/v1/sql"))
            .body(sql)
            .send()
            .await
            .unwrap();
        assert!(
            answer.status().is_client_error(),
            "{sql}: {}",
            answer.status()
        );
    }
    let endless = "SELECT count(*) FROM range(1000000000000) a, range(1000000000000) b";
    let request = world
        .http
        .post(world.query("/v1/sql?timeout=1s"))
        .body(endless);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_client_error(), "{}", answer.status());
    assert_ne!(answer.status(), StatusCode::NOT_FOUND);
    world.assert_returns_exactly(&posted).await;
}
