//! Clients that take their time.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use testkit::eventually;

use crate::world::{World, lines};

/// A connection that has said `head` and nothing since.
async fn silent(world: &World, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// What is said until the other side hangs up.
async fn rest(mut stream: TcpStream, limit: Duration) -> String {
    let mut said = Vec::new();
    let read = stream.read_to_end(&mut said);
    let read = tokio::time::timeout(limit, read).await;
    let _ = read.expect("the other side hangs up");
    String::from_utf8(said).unwrap()
}

/// How many ends of the connection from `port` have bytes waiting.
fn unread(port: u16) -> usize {
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let of_it = format!(":{port:04X} ");
    let both = connections.lines().filter(|line| line.contains(&of_it));
    both.filter(|line| !line.contains(" 00000000:00000000 "))
        .count()
}

#[tokio::test]
async fn a_client_is_told_how_long_its_connection_waits_for_another_request() {
    let (world, _ingest) = World::start().await;
    let began = Instant::now();
    let stream = silent(&world, "GET /v1/store HTTP/1.1\r\nhost: x\r\n\r\n").await;

    let said = rest(stream, Duration::from_secs(30)).await;

    let told = said.split("keep-alive: timeout=").nth(1).unwrap();
    let told = told.split("\r\n").next().unwrap().parse().unwrap();
    assert!(began.elapsed() > Duration::from_secs(told), "{said}");
}

#[tokio::test]
async fn clients_that_send_no_body_keep_nobody_out_and_are_sent_away() {
    let (world, _ingest) = World::start_with(&["--max-requests=4"]).await;
    let head = "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 16000000\r\n\r\n{";
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(silent(&world, head).await);
    }
    for request in 0..20 {
        let began = Instant::now();
        assert_eq!(world.append(lines(request..request + 1)).await["acked"], 1);
        assert!(began.elapsed() < Duration::from_secs(2), "{began:?}");
    }
    for stream in idle {
        let said = rest(stream, Duration::from_secs(20)).await;
        assert!(said.starts_with("HTTP/1.1 408"), "{said}");
        assert!(said.contains("application/problem+json"), "{said}");
        assert!(said.contains("request_timeout"), "{said}");
    }
}

#[tokio::test]
async fn bodies_that_stop_half_way_hold_their_bytes_no_longer_than_a_pause() {
    let (world, _ingest) = World::start_with(&["--max-requests=1"]).await;
    let bytes = 15 << 20;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        bytes + 1
    );
    let mut stalled = silent(&world, &head).await;
    stalled.write_all(&vec![b' '; bytes]).await.unwrap();
    let port = stalled.local_addr().unwrap().port();
    eventually("ingest has read it", async || unread(port) == 0).await;
    let large = format!("{}{}", lines(0..1), " ".repeat(3 << 20));
    let full = world.post("/v1/events").body(large.clone());
    let full = full.send().await.unwrap();
    assert_eq!(full.status(), 429);
    assert!(full.headers().contains_key("retry-after"));
    assert_eq!(
        world.append(lines(1..2)).await["acked"],
        1,
        "a small one fits"
    );
    let said = rest(stalled, Duration::from_secs(20)).await;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert_eq!(world.append(large).await["acked"], 1);
}

#[tokio::test]
async fn heads_that_never_end_are_sent_away() {
    let (world, _ingest) = World::start().await;
    let mut halves = Vec::new();
    for _ in 0..600 {
        halves.push(silent(&world, "POST /v1/events HTTP/1.1\r\nhost: x\r\nx-").await);
    }
    assert_eq!(world.append(lines(0..1)).await["acked"], 1);
    for stream in halves {
        rest(stream, Duration::from_secs(40)).await;
    }
}

#[tokio::test]
async fn heads_that_never_end_do_not_hold_up_the_stop() {
    let (world, ingest) = World::start().await;
    let mut halves = Vec::new();
    for head in [
        "",
        "POST /v1/ev",
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nx-",
    ] {
        halves.push(silent(&world, head).await);
    }
    assert_eq!(world.append(lines(0..1)).await["acked"], 1);
    let began = Instant::now();
    assert!(ingest.stop().await.success());
    assert!(began.elapsed() < Duration::from_secs(5), "{began:?}");
}
