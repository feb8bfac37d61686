//! The attacks, each for a few seconds.

use std::{io::Write as _, path::Path, time::Duration};

use flate2::{Compression, write::GzEncoder};
use futures::{StreamExt as _, future::join_all, stream};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::super::world::World;

/// How long sockets that read nothing stay open, and endless statements are awaited.
const ATTACK_TIME: Duration = Duration::from_secs(6);
/// Sockets that read nothing.
const UNREAD_SOCKETS: usize = 40;
/// Tails that nobody reads: as many as the service admits.
const IDLE_TAILS: usize = 2000;
const FAT_EVENTS: usize = 60;

#[derive(Clone, Copy, Debug)]
pub(super) enum Attack {
    SqlThatGrows,
    UnreadPages,
    UnreadTails,
    DearConditions,
    CompressedFields,
    SameIdsAgain,
    EventDays,
    StaleConditions,
    EndlessStatements,
    IdleTails,
    UniqueTypes,
    LargeEvents,
    NulFilters,
    FramesOfNoise,
}

pub(super) const ALL: [Attack; 14] = [
    Attack::SqlThatGrows,
    Attack::UnreadPages,
    Attack::UnreadTails,
    Attack::DearConditions,
    Attack::CompressedFields,
    Attack::SameIdsAgain,
    Attack::EventDays,
    Attack::StaleConditions,
    Attack::EndlessStatements,
    Attack::IdleTails,
    Attack::UniqueTypes,
    Attack::LargeEvents,
    Attack::NulFilters,
    Attack::FramesOfNoise,
];

/// Stores the conversation whose events are large and take six times as much as JSON.
pub(super) async fn prepare(world: &World) {
    let content = "\u{1}".repeat(250_000);
    let line = |n: usize| {
        json!({"conversation_id": "fat", "type": "t", "event_id": n.to_string(), "content": content})
            .to_string()
    };
    let lines: Vec<String> = (0..FAT_EVENTS).map(line).collect();
    world.post(&lines, 8).await;
}

pub(super) async fn run(attack: Attack, world: &World) {
    match attack {
        Attack::SqlThatGrows => statements(world, "SELECT repeat(chr(1), 200000000)", 4).await,
        Attack::UnreadPages => {
            unread(
                world,
                "/v1/conversations/fat/events?limit=1000",
                UNREAD_SOCKETS,
            )
            .await
        }
        Attack::UnreadTails => unread(world, "/v1/conversations/fat/tail", UNREAD_SOCKETS).await,
        Attack::DearConditions => {
            let cast = "timestamp > CAST(CAST('[1]' AS INT[82000]) AS VARCHAR)";
            let conditions = vec![cast; 900].join(" AND ");
            statements(
                world,
                &format!("SELECT 1 FROM events WHERE {conditions}"),
                4,
            )
            .await;
        }
        Attack::CompressedFields => compressed_fields(world).await,
        Attack::SameIdsAgain => same_ids_again(world).await,
        Attack::EventDays => event_days(world).await,
        Attack::StaleConditions => stale_conditions(world).await,
        Attack::EndlessStatements => {
            let endless = "SELECT sum(a.seq * b.seq + c.seq - d.seq) \
                           FROM events a, events b, events c, events d, events e, events f";
            statements(world, endless, 4).await;
        }
        Attack::IdleTails => {
            unread(world, "/v1/tail", IDLE_TAILS).await;
        }
        Attack::UniqueTypes => unique_types(world).await,
        Attack::LargeEvents => large_events(world).await,
        Attack::NulFilters => {
            let path = world.query("/v1/conversations/fat/events?type=%00&limit=1");
            let requests = (0..20).map(|_| world.http.get(&path).send());
            join_all(requests).await;
        }
        Attack::FramesOfNoise => frames_of_noise(world).await,
    }
}

/// Sends `sql` again and again on `clients` connections.
async fn statements(world: &World, sql: &str, clients: usize) {
    let url = world.query("/v1/sql");
    let client = async || {
        loop {
            let answer = world.http.post(&url).body(sql.to_owned()).send().await;
            if let Ok(answer) = answer {
                let _ = answer.bytes().await;
            }
        }
    };
    let _ = timeout(ATTACK_TIME, join_all((0..clients).map(|_| client()))).await;
}

/// Asks for `path` on `sockets` connections, and reads nothing but the head of the answers.
async fn unread(world: &World, path: &str, sockets: usize) {
    let url = reqwest::Url::parse(&world.query(path)).unwrap();
    let address = format!("127.0.0.1:{}", url.port().unwrap());
    let open = |_| async {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    };
    let mut open: Vec<TcpStream> = stream::iter(0..sockets)
        .map(open)
        .buffered(64)
        .collect()
        .await;
    tokio::time::sleep(ATTACK_TIME).await;
    let mut head = [0; 12];
    let answered = open.last_mut().unwrap().read_exact(&mut head);
    let answered = timeout(ATTACK_TIME, answered).await;
    assert!(
        answered.is_ok(),
        "the last of {sockets} got no answer at all"
    );
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// 24 bodies of 24 KB that become 16 MiB of fields.
async fn compressed_fields(world: &World) {
    let fields = "\"a\":1,".repeat(2_700_000);
    let body = format!("{{{fields}\"conversation_id\":\"zip\",\"type\":\"t\"}}");
    let body = gzip(body.as_bytes());
    let post = || {
        let request = world.http.post(world.ingest("/v1/events"));
        let request = request.header("content-type", "application/json");
        request
            .header("content-encoding", "gzip")
            .body(body.clone())
            .send()
    };
    join_all((0..24).map(|_| post())).await;
}

async fn same_ids_again(world: &World) {
    let line = |n: usize| {
        json!({"conversation_id": "again", "type": "t", "event_id": n.to_string(), "content": "x"})
            .to_string()
    };
    let mut lines: Vec<String> = (0..500).map(line).collect();
    for _ in 0..60 {
        lines.rotate_left(7);
        world.post(&lines, 500).await;
    }
    let page = world.query("/v1/conversations/again/events?limit=1000");
    let page = world.http.get(page).send().await.unwrap();
    assert!(page.status().is_success());
}

/// One request with 18,000 days of event time.
async fn event_days(world: &World) {
    let line = |n: u64| {
        let (year, month, day) = (1971 + n / 336, 1 + n / 28 % 12, 1 + n % 28);
        let time = format!("{year}-{month:02}-{day:02}T00:00:00Z");
        json!({"conversation_id": "days", "type": "t", "timestamp": time}).to_string()
    };
    let lines: Vec<String> = (0..18_000).map(line).collect();
    world.post(&lines, lines.len()).await;
}

/// The objects with events in the cold tier after a run of the archiver.
pub(super) async fn archived_files(world: &World) -> usize {
    fn count(folder: &Path) -> usize {
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .map(|path| match path.is_dir() {
                true => count(&path),
                false => usize::from(path.extension().is_some_and(|kind| kind == "parquet")),
            })
            .sum()
    }
    world.until_sealed().await;
    world.archive().await;
    count(Path::new(&world.path("cold/events")))
}

/// 70 clients whose condition is about an end that is long past.
async fn stale_conditions(world: &World) {
    let url = world.ingest("/v1/conversations/stale/events?receipts=all");
    let event = json!({"type": "t", "content": "x"});
    let first = world.http.post(&url).json(&event).send().await.unwrap();
    let first: serde_json::Value = first.json().await.unwrap();
    let position = first["receipts"][0]["position"]
        .as_str()
        .unwrap()
        .to_owned();
    let client = async || {
        loop {
            let request = world
                .http
                .post(&url)
                .header("if-match", format!("\"{position}\""));
            let _ = request.json(&event).send().await;
        }
    };
    let fill = same_ids_again(world);
    let clients = join_all((0..70).map(|_| client()));
    let _ = timeout(ATTACK_TIME, async { tokio::join!(fill, clients) }).await;
}

/// 40,000 events, each of a type of its own, and the statistics by type.
async fn unique_types(world: &World) {
    let line = |n: usize| {
        let kind = format!("{n:0>126}");
        json!({"conversation_id": format!("types-{}", n % 10), "type": kind}).to_string()
    };
    let lines: Vec<String> = (0..40_000).map(line).collect();
    world.post(&lines, 10_000).await;
    for _ in 0..4 {
        let _ = world.http.get(world.query("/v1/stats/hourly")).send().await;
    }
}

async fn large_events(world: &World) {
    let content = "lorem ipsum ".repeat(20_000);
    let line = |n: usize| {
        json!({"conversation_id": format!("large-{}", n % 7), "type": "t", "content": format!("{n}{content}")})
            .to_string()
    };
    let lines: Vec<String> = (0..300).map(line).collect();
    world.post(&lines, 30).await;
}

/// Messages of the log that are no frames, in the last partition; one with headers that are no text.
async fn frames_of_noise(world: &World) {
    let address = world.nats.url.trim_start_matches("nats://");
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(
            b"CONNECT {\"headers\":true}\r\nPUB ev.g1.p02.e1 3\r\nfoo\r\n\
              HPUB ev.g1.p02.e1 19 22\r\nNATS/1.0\r\nX: \xff\xfe\r\n\r\nfoo\r\nPING\r\n",
        )
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
}
