//! Answers that are larger than the memory for them, and clients that do not read them.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use event::Event;
use futures::{StreamExt as _, future::join_all};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use warm_tier::remote::{Client, Scan, Table};

use crate::{
    hogs::peak_memory,
    world::{World, event, id},
};

const MEMORY_BYTES: u64 = 700_000_000;
/// Sockets that ask and never read.
const SILENT_CLIENTS: usize = 40;
/// An event whose JSON has six times the bytes of its content.
const LARGE_CONTENT_BYTES: usize = 250_000;

/// The events `numbers` of the first conversation, with large contents.
fn large_events(count: u64) -> impl Iterator<Item = Event> {
    (0..count).map(|number| Event {
        content: "\u{1}".repeat(LARGE_CONTENT_BYTES),
        ..event(number * crate::world::CONVERSATIONS)
    })
}

/// Sends a request and leaves its answer unread.
async fn ask_and_never_read(address: SocketAddr, path: String) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // So that what is not read stays with the server.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    // Its answer begins, or is refused.
    let mut start = [0; 12];
    socket.read_exact(&mut start).await.unwrap();
    socket
}

async fn small_world() -> World {
    World::start_with(&["--memory-bytes", &MEMORY_BYTES.to_string()]).await
}

#[tokio::test]
async fn answers_that_nobody_reads_leave_memory_for_others() {
    let world = small_world().await;
    let _writer = world.hot_writer();
    world.publish_events(large_events(300), 1).await;
    let small = event(1);
    assert_ne!(small.conversation_id, event(0).conversation_id);
    world.publish_events([small.clone()].into_iter(), 1).await;
    world.until("hot", "last").await;
    let address = world.url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut silent = Vec::new();
    for round in 0..2 {
        let page = |limit| format!("/v1/conversations/{}/events?limit={limit}", id(0));
        let tail = format!("/v1/conversations/{}/tail", id(0));
        let paths = (0..SILENT_CLIENTS).map(|number| match number % 4 {
            0 => page(1000),
            1 => tail.clone(),
            2 => "/v1/tail?after=".to_owned() + &first_positions(),
            _ => page(200),
        });
        silent.extend(join_all(paths.map(|path| ask_and_never_read(address, path))).await);
        let asked_at = Instant::now();
        let (found, _) = world.read(1).await;
        assert_eq!(found, [1], "round {round}");
        assert!(
            asked_at.elapsed() < Duration::from_secs(3),
            "it waits for large ones"
        );
    }
    assert!(world.is_ready().await);
    // Unread answers would fill more: half of the memory is for requests, and half of that for statements.
    let peak = peak_memory(world.query.pid());
    assert!(peak < MEMORY_BYTES / 2, "{peak} bytes");
    drop(silent);
    let (status, page) = world
        .json(&format!("/v1/conversations/{}/events?limit=1000", id(0)))
        .await;
    assert_eq!(
        status, 200,
        "memory is given back when clients leave: {page}"
    );
}

#[tokio::test]
async fn large_pages_that_nobody_reads_cost_others_no_more_than_a_page_that_ends_early() {
    let world = small_world().await;
    let _writer = world.hot_writer();
    world.publish_events(large_events(20), 1).await;
    world.until("hot", "last").await;
    let address = world.url.strip_prefix("http://").unwrap().parse().unwrap();
    let page = |limit| format!("/v1/conversations/{}/events?limit={limit}", id(0));
    let silent = (0..SILENT_CLIENTS).map(|_| ask_and_never_read(address, page(1000)));
    let _silent = join_all(silent).await;
    for _ in 0..10 {
        let asked_at = Instant::now();
        let (status, answer) = world.json(&page(3)).await;
        assert_eq!(status, 200, "{answer}");
        let events = answer["events"].as_array().unwrap().len();
        assert!(events > 0, "{answer}");
        assert_eq!(answer["next"].is_null(), events == 20);
        assert!(asked_at.elapsed() < Duration::from_secs(3), "it waits");
    }
}

/// Positions before the first event of every partition.
pub(crate) fn first_positions() -> String {
    let all = crate::world::count().all();
    let positions = all.map(|partition| event::Position::new(partition, 0, 0).to_string());
    positions.collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn a_page_of_large_events_ends_early_and_the_next_goes_on_in_every_tier() {
    let world = small_world().await;
    let count = 24;
    world.publish_events(large_events(count), 1).await;
    // From the log, then from the hot tier, then from warm.
    for tier in ["log", "hot", "warm"] {
        let (_hot, _warm) = match tier {
            "log" => (None, None),
            "hot" => (Some(world.hot_writer()), None),
            _ => {
                world.valkey.flush().await;
                (None, Some(world.compactor(&["--seal-after", "1s"])))
            }
        };
        match tier {
            "hot" => world.until("hot", "last").await,
            "warm" => world.until("warm", "sealed").await,
            _ => {}
        }
        for order in ["asc", "desc"] {
            let mut path = format!(
                "/v1/conversations/{}/events?order={order}&limit=1000",
                id(0)
            );
            let base = path.clone();
            let (mut pages, mut found) = (0, Vec::new());
            loop {
                let (status, page) = world.json(&path).await;
                assert_eq!(status, 200, "{tier}");
                let events = page["events"].as_array().unwrap();
                assert!(!events.is_empty() && events.len() < 24, "{tier} {order}");
                let ids = events.iter().map(|event| event["event_id"].to_string());
                found.extend(ids);
                pages += 1;
                let Some(next) = page["next"].as_str().filter(|_| found.len() < 24) else {
                    break;
                };
                let bound = if order == "asc" { "after" } else { "before" };
                path = format!("{base}&{bound}={next}");
            }
            let mut expected: Vec<_> = large_events(count)
                .map(|event| format!("\"{}\"", event.event_id))
                .collect();
            if order == "desc" {
                expected.reverse();
            }
            assert_eq!(found, expected, "{tier} {order}");
            assert!(pages > 1, "{tier} {order}: {pages} pages");
        }
    }
}

#[tokio::test]
async fn a_tail_of_large_events_has_them_all() {
    let world = small_world().await;
    world.publish_events(large_events(20), 1).await;
    let path = format!("/v1/conversations/{}/tail", id(0));
    let mut tail = crate::tail::Tail::new(world.tail(&path, None).await);
    for number in 0..20 {
        let (_, event) = tail.next().await;
        let expected = crate::world::event(number * crate::world::CONVERSATIONS);
        assert_eq!(event["event_id"], expected.event_id.to_string());
    }
}

#[tokio::test]
async fn a_statement_over_its_budget_is_refused_while_it_reads() {
    let world = small_world().await;
    let _compactor = world.compactor(&[]);
    let _writer = world.hot_writer();
    world.publish_events(large_events(300), 1).await;
    world.until("warm", "committed").await;
    world.until("hot", "last").await;
    let before = peak_memory(world.query.pid());
    let (status, problem) = world
        .sql_with(
            "?max_bytes=10000000",
            "SELECT sum(length(content)) FROM events",
        )
        .await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (422, Some("scan_too_large"))
    );
    let grown = peak_memory(world.query.pid()) - before;
    assert!(grown < 64 << 20, "{grown} bytes for a budget of 10 MB");
    let all = world.sql("SELECT count(*) FROM events").await;
    assert_eq!(crate::sql::cell(&all), 300);
}

#[tokio::test]
async fn an_honest_statement_passes_endless_ones_of_another_client() {
    let world = World::start_with(&["--sql-at-once", "2", "--sql-timeout", "60s"]).await;
    let endless = "SELECT count(*) FROM range(1000000000000) a, range(1000) b \
                   WHERE hash(a.range) = b.range";
    let hogs: Vec<_> = (0..6)
        .map(|_| {
            let request = world
                .http
                .post(format!("{}/v1/sql", world.url))
                .body(endless);
            tokio::spawn(request.send())
        })
        .collect();
    testkit::eventually("all slots are taken", async || {
        crate::hogs::children(world.executor.pid()).len() >= 3
    })
    .await;
    let other = client_at([127, 0, 0, 2]);
    for _ in 0..3 {
        let request = other.post(format!("{}/v1/sql?timeout=20s", world.url));
        let answer = request.body("SELECT 42").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(crate::hogs::children(world.executor.pid()).len() <= 4);
    }
    assert!(
        hogs.iter().all(|hog| !hog.is_finished()),
        "they still run or wait"
    );
    hogs.iter().for_each(tokio::task::JoinHandle::abort);
}

/// A client with another address.
pub(crate) fn client_at(address: [u8; 4]) -> reqwest::Client {
    let client = reqwest::Client::builder().local_address(IpAddr::from(address));
    client.build().unwrap()
}

#[tokio::test]
async fn scans_that_nobody_reads_take_little_memory_of_the_compactor() {
    let world = small_world().await;
    let compactor = world.compactor(&["--seal-after", "1s"]);
    world.publish_events(large_events(400), 1).await;
    world.until("warm", "sealed").await;
    let client = Client::new(&world.flight_url(), None).unwrap();
    let before = peak_memory(compactor.pid());
    let sealed = client.coverage().await.unwrap();
    let own = sealed
        .partition(crate::world::partition(&event(0)))
        .unwrap();
    let scan = Scan::new(
        Table::Events,
        own.partition,
        own.sealed_range().into_iter().collect(),
    );
    let mut unread = Vec::new();
    for _ in 0..16 {
        let begin = async {
            let mut batches = client.scan(&scan).await.unwrap();
            assert!(batches.next().await.unwrap().unwrap().num_rows() > 0);
            unread.push(batches);
        };
        let begun = tokio::time::timeout(Duration::from_secs(30), begin).await;
        begun.expect("those before it do not hold it up");
    }
    let grown = peak_memory(compactor.pid()).saturating_sub(before);
    assert!(grown < 400 << 20, "{grown} bytes for 16 scans of 100 MB");
}
