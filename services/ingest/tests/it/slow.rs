//! Slow and silent clients.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use testkit::eventually;

use crate::{
    memory::peak_memory,
    world::{World, lines},
};

const SMALL_REQUEST: &str = "GET /v1/store HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Opens a connection that sends `head` and nothing more.
async fn send_head(world: &World, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Clients that send less than they announced.
const STALLED_BODIES: usize = 20;

/// Reads until the server closes the connection, within `limit`.
async fn read_to_close(mut stream: TcpStream, limit: Duration) -> String {
    let mut response = Vec::new();
    let read = stream.read_to_end(&mut response);
    let read = tokio::time::timeout(limit, read).await;
    let _ = read.expect("the server closes the connection");
    String::from_utf8(response).unwrap()
}

/// The number of ends of the connection from `port` with unread or unsent bytes.
fn ends_with_queued_bytes(port: u16) -> usize {
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port_text = format!(":{port:04X} ");
    let ends = connections.lines().filter(|line| line.contains(&port_text));
    ends.filter(|line| !line.contains(" 00000000:00000000 "))
        .count()
}

#[tokio::test]
async fn the_keep_alive_header_is_shorter_than_the_wait_for_another_request() {
    let (world, _ingest) = World::start().await;
    let began = Instant::now();
    let stream = send_head(&world, SMALL_REQUEST).await;

    let response = read_to_close(stream, Duration::from_secs(30)).await;

    let timeout = response.split("keep-alive: timeout=").nth(1).unwrap();
    let timeout = timeout.split("\r\n").next().unwrap().parse().unwrap();
    assert!(began.elapsed() > Duration::from_secs(timeout), "{response}");
}

#[tokio::test]
async fn clients_that_send_no_body_block_no_others_and_time_out() {
    let (world, _ingest) = World::start_with(&["--max-requests=4"]).await;
    let head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 16000000\r\n\r\n{";
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(send_head(&world, head).await);
    }
    for request in 0..20 {
        let began = Instant::now();
        assert_eq!(world.append(lines(request..request + 1)).await["acked"], 1);
        assert!(began.elapsed() < Duration::from_secs(2), "{began:?}");
    }
    for stream in idle {
        let response = read_to_close(stream, Duration::from_secs(20)).await;
        assert!(response.starts_with("HTTP/1.1 408"), "{response}");
        assert!(response.contains("application/problem+json"), "{response}");
        assert!(response.contains("request_timeout"), "{response}");
    }
}

#[tokio::test]
async fn a_stalled_body_ends_when_another_waits_for_its_memory() {
    let (world, _ingest) = World::start_with(&["--request-memory=96MiB"]).await;
    let stalled = stall(&world, 15 << 20).await;
    let port = stalled.local_addr().unwrap().port();
    eventually("ingest has read it", async || {
        ends_with_queued_bytes(port) == 0
    })
    .await;
    let large = format!("{}{}", lines(0..1), " ".repeat(3 << 20));
    assert_eq!(world.append(large).await["acked"], 1);
    let response = read_to_close(stalled, Duration::from_secs(20)).await;
    assert!(response.starts_with("HTTP/1.1 408"), "{response}");
    assert!(response.contains("others waited for memory"), "{response}");
}

#[tokio::test]
async fn large_bodies_that_stall_hold_up_no_small_ones() {
    let (world, _ingest) = World::start_with(&["--request-memory=96MiB"]).await;
    let stalled = (0..STALLED_BODIES).map(|_| stall(&world, 15 << 20));
    let stalled = futures::future::join_all(stalled);
    tokio::join!(stalled, append_at_once(&world));
}

#[tokio::test]
async fn small_bodies_that_stall_hold_up_no_tiny_ones() {
    let (world, _ingest) = World::start_with(&["--request-memory=96MiB"]).await;
    let stalled = (0..10 * STALLED_BODIES).map(|_| stall(&world, 500_000));
    let stalled = futures::future::join_all(stalled);
    tokio::join!(stalled, append_at_once(&world));
}

#[tokio::test]
async fn bodies_of_unknown_length_that_stall_hold_up_no_tiny_ones() {
    let (world, _ingest) = World::start_with(&["--request-memory=96MiB"]).await;
    let stalled = (0..5 * STALLED_BODIES).map(|_| stall_in_chunks(&world));
    let stalled = futures::future::join_all(stalled);
    tokio::join!(stalled, append_at_once(&world));
}

/// Appends small requests for a while, none of which waits long.
async fn append_at_once(world: &World) {
    for request in 0..40 {
        let began = Instant::now();
        assert_eq!(world.append(lines(request..request + 1)).await["acked"], 1);
        assert!(began.elapsed() < Duration::from_secs(2), "{began:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Sends 400 KB of a body without saying how long it is, and not its end.
async fn stall_in_chunks(world: &World) -> TcpStream {
    let head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut stream = send_head(world, head).await;
    let chunk = format!("{:x}\r\n{}\r\n", 8000, " ".repeat(8000)).repeat(50);
    let sent = stream.write_all(chunk.as_bytes());
    let _ = tokio::time::timeout(Duration::from_secs(2), sent).await;
    stream
}

#[tokio::test]
async fn small_bodies_that_stall_leave_memory_for_others() {
    let (world, _ingest) = World::start_with(&["--request-memory=96MiB"]).await;
    let stalled = (0..2 * STALLED_BODIES).map(|_| stall(&world, 500_000));
    let _stalled = futures::future::join_all(stalled).await;
    let began = Instant::now();
    assert_eq!(world.append(lines(0..1)).await["acked"], 1);
    assert!(began.elapsed() < Duration::from_secs(4), "{began:?}");
}

/// Sends all but one of the `bytes` of a body; as many as ingest takes.
async fn stall(world: &World, bytes: usize) -> TcpStream {
    let head =
        format!("POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: {bytes}\r\n\r\n");
    let mut stream = send_head(world, &head).await;
    let body = vec![b' '; bytes - 1];
    let sent = stream.write_all(&body);
    let _ = tokio::time::timeout(Duration::from_secs(2), sent).await;
    stream
}

#[tokio::test]
async fn connections_with_an_incomplete_head_time_out() {
    let (world, _ingest) = World::start().await;
    let mut incomplete = Vec::new();
    for _ in 0..600 {
        incomplete
            .push(send_head(&world, "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nx-").await);
    }
    assert_eq!(world.append(lines(0..1)).await["acked"], 1);
    for stream in incomplete {
        read_to_close(stream, Duration::from_secs(40)).await;
    }
}

#[tokio::test]
async fn connections_with_an_incomplete_head_do_not_delay_the_stop() {
    let (world, ingest) = World::start().await;
    let mut incomplete = Vec::new();
    for head in [
        "",
        "POST /v1/ev",
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nx-",
    ] {
        incomplete.push(send_head(&world, head).await);
    }
    assert_eq!(world.append(lines(0..1)).await["acked"], 1);
    let began = Instant::now();
    assert!(ingest.stop().await.success());
    assert!(began.elapsed() < Duration::from_secs(5), "{began:?}");
}

#[tokio::test]
async fn large_heads_of_many_connections_take_little_memory_beside_an_honest_client() {
    let (world, ingest) = World::start().await;
    let before = peak_memory(ingest.pid());
    let head = format!(
        "GET /v1/store HTTP/1.1\r\nhost: localhost\r\nx: {}",
        "x".repeat(60_000)
    );
    let mut slow = Vec::new();
    for _ in 0..1_000 {
        // Its first request is not large.
        let mut stream = send_head(&world, SMALL_REQUEST).await;
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(world.append(lines(0..1)).await["acked"], 1);
    let grown = peak_memory(ingest.pid()) - before;
    assert!(grown < 56 << 20, "{grown} bytes for 1,000 heads");
    // When one is whole, it is the turn of another.
    for stream in &mut slow {
        for rest in ["\r\n\r\n", SMALL_REQUEST] {
            stream.write_all(rest.as_bytes()).await.unwrap();
            assert!(answer(stream).await.starts_with("HTTP/1.1 200"));
        }
    }
}

/// The first bytes of an answer.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut bytes)).await;
    bytes.truncate(read.expect("there is an answer").unwrap());
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_with_the_reason() {
    let (world, _ingest) = World::start().await;
    let head = |bytes| {
        format!(
            "GET /v1/store HTTP/1.1\r\nhost: localhost\r\nx: {}",
            "x".repeat(bytes)
        )
    };
    let refused = read_to_close(
        send_head(&world, &head(200_000)).await,
        Duration::from_secs(10),
    );
    let refused = refused.await;
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
    assert!(refused.contains("head_too_large"), "{refused}");
    let mut stream = send_head(&world, &(head(60_000) + "\r\n\r\n")).await;
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
}
