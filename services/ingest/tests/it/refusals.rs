use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use reqwest::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::world::{World, lines, ok, problem};

#[tokio::test]
async fn bad_input_is_refused_with_a_code_and_nothing_is_stored() {
    let (world, _ingest) = World::start().await;
    let good = lines(0..1);
    let bad = |line: &str| format!("{good}{line}").into_bytes();
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let of = |fields: &str| bad(&format!(r#"{{"conversation_id":"c","type":"t",{fields}}}"#));
    let content = |bytes: usize| of(&format!(r#""content":"{}""#, "x".repeat(bytes)));

    let cases = [
        (bad("{nope"), 400, "malformed_json"),
        (
            b"{\"conversation_id\":\"\xff\xfe\"}".to_vec(),
            400,
            "invalid_utf8",
        ),
        (Vec::new(), 400, "empty_body"),
        (content(257 * 1024), 422, "event_too_large"),
        (vec![b' '; 17 << 20], 413, "body_too_large"),
        (bad(r#"{"type":"t"}"#), 422, "missing_conversation"),
        (
            of(r#""timestamp":"2199-01-01T00:00:00Z""#),
            422,
            "timestamp_in_future",
        ),
        (bad(&deep), 422, "not_an_object"),
        (
            of(&format!(r#""metadata":{deep}"#)),
            422,
            "invalid_metadata",
        ),
        (of(&format!(r#""x":{deep}"#)), 422, "too_deep"),
        (bad(&"[".repeat(100_000)), 400, "malformed_json"),
        (of(r#""content":"a\u0000""#), 422, "nul_character"),
        (
            bad(r#"{"conversation_id":"😀","type":"t"}"#),
            422,
            "invalid_conversation_id",
        ),
        (
            bad(r#"{"conversation_id":"../../etc","type":"t"}"#),
            422,
            "invalid_conversation_id",
        ),
        (of(r#""tenant":"other""#), 422, "tenant_not_allowed"),
    ];
    for (body, status, code) in cases {
        let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let response = world.post("/v1/events").body(body).send().await.unwrap();
        let (found, problem) = problem(response).await;
        assert_eq!(
            (found, problem["code"].as_str().unwrap()),
            (status, code),
            "{start}"
        );
        assert!(
            problem["detail"].as_str().unwrap().contains(' '),
            "a sentence"
        );
    }

    assert!(world.stored().await.is_empty(), "nothing is half-stored");
    assert_eq!(world.append(good).await["acked"], 1, "the service lives");
}

#[tokio::test]
async fn a_decompression_bomb_is_refused() {
    let (world, _ingest) = World::start().await;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let chunk = vec![b'\n'; 1 << 20];
    for _ in 0..512 {
        gzip.write_all(&chunk).unwrap();
    }
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 1 << 20);

    let request = world.post("/v1/events").body(bomb);
    let response = request.header("content-encoding", "gzip").send().await;
    let (status, problem) = problem(response.unwrap()).await;
    assert_eq!(
        (status, problem["code"].as_str().unwrap()),
        (413, "body_too_large")
    );
}

#[tokio::test]
async fn unsupported_types_and_encodings_are_refused() {
    let (world, _ingest) = World::start().await;
    for (name, value, status, code) in [
        ("content-type", "text/csv", 415, "unsupported_media_type"),
        (
            "content-encoding",
            "br",
            415,
            "unsupported_content_encoding",
        ),
        ("content-encoding", "gzip", 400, "malformed_encoding"),
    ] {
        let request = world.post("/v1/events").header(name, value);
        let response = request.body(lines(0..1)).send().await.unwrap();
        let (found, problem) = problem(response).await;
        assert_eq!((found, problem["code"].as_str().unwrap()), (status, code));
    }
}

#[tokio::test]
async fn another_path_method_or_option_is_a_problem_too() {
    let (world, _ingest) = World::start().await;
    let send = async |method: Method, path: &str| {
        let url = format!("http://127.0.0.1:{}{path}", world.port);
        let response = world.client.request(method, url).body("{}").send().await;
        let (status, problem) = problem(response.unwrap()).await;
        (status, problem["code"].as_str().unwrap().to_owned())
    };
    for (method, path, status, code) in [
        (Method::POST, "/", 404, "not_found"),
        (Method::POST, "/v1/event", 404, "not_found"),
        (Method::GET, "/v1/events", 405, "method_not_allowed"),
        (
            Method::DELETE,
            "/v1/conversations/c/events",
            405,
            "method_not_allowed",
        ),
        (
            Method::POST,
            "/v1/events?partial=perhaps",
            400,
            "invalid_parameter",
        ),
        (
            Method::POST,
            "/v1/conversations/%F0%9F%98%80/events",
            400,
            "invalid_conversation_id",
        ),
        (
            Method::POST,
            "/v1/conversations/..%2Fx/events",
            400,
            "invalid_conversation_id",
        ),
        (
            Method::POST,
            "/v1/conversations/%FF/events",
            400,
            "invalid_conversation_id",
        ),
    ] {
        let expected = (status, code.to_owned());
        assert_eq!(send(method, path).await, expected, "{path}");
    }
}

#[tokio::test]
async fn a_client_that_disconnects_within_its_body_stores_nothing() {
    let (world, _ingest) = World::start().await;
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    let body = lines(0..2);
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len() + 10
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();

    assert_eq!(world.append(lines(5..6)).await["acked"], 1);
    assert_eq!(world.stored().await.len(), 1);
}

#[tokio::test]
async fn a_full_log_asks_for_a_later_retry() {
    let (world, _ingest) = World::start_with(&["--log-max-bytes=64KiB"]).await;
    let mut next = 0;
    let response = loop {
        let body = lines(next..next + 100);
        let response = world.post("/v1/events").body(body).send().await.unwrap();
        if response.status() != StatusCode::OK {
            break response;
        }
        ok(response).await;
        next += 100;
        assert!(next < 100_000, "the log never gets full");
    };
    assert!(response.headers().contains_key("retry-after"));
    let (status, problem) = problem(response).await;
    assert_eq!(
        (status, problem["code"].as_str().unwrap()),
        (429, "log_full")
    );
}

#[tokio::test]
async fn nothing_of_a_conversation_is_stored_behind_a_frame_that_was_refused() {
    let (world, _ingest) = World::start_with(&["--log-max-bytes=800KiB"]).await;
    let event = |id: &str, bytes: usize| {
        // Text that LZ4 leaves as it is.
        let mut seed = 7_u64;
        let letters = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'!' + u8::try_from((seed >> 33) % 90).unwrap())
        });
        let content: String = letters
            .filter(|c| !matches!(c, '"' | '\\'))
            .take(bytes)
            .collect();
        format!(r#"{{"event_id":"{id}","conversation_id":"c","type":"t","content":"{content}"}}"#)
    };
    for id in ["1", "2", "3"] {
        world.append(event(id, 200_000)).await;
    }

    // Two frames: the first is too large for the rest of the log, the second is not.
    let body = format!("{}\n{}", event("4", 240_000), event("5", 40_000));
    let response = world.post("/v1/events").body(body).send().await.unwrap();

    let (status, problem) = problem(response).await;
    assert_eq!(
        (status, problem["code"].as_str().unwrap()),
        (429, "log_full")
    );
    assert_eq!(world.stored().await.len(), 3);
}

#[tokio::test]
async fn a_malformed_head_is_a_problem_too() {
    let (world, _ingest) = World::start().await;
    let many: String = (0..300).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (head, status, code) in [
        (
            "POST /v1/events HTTP/1.1\r\ncontent-length: abc\r\n",
            "400",
            "malformed_request",
        ),
        (
            "POST /v1/events HTTP/1.1\r\nbad header: 1\r\n",
            "400",
            "malformed_request",
        ),
        ("P\u{1}ST / HTTP/1.1\r\n", "400", "malformed_request"),
        (
            &format!("POST / HTTP/1.1\r\n{many}"),
            "431",
            "head_too_large",
        ),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
        stream
            .write_all(format!("{head}\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(
            answer.contains("content-type: application/problem+json"),
            "{answer}"
        );
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], code);
        assert_eq!(problem["type"], format!("urn:isotherm:problem:{code}"));
    }
}
