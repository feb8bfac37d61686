//! Messages with headers that the client cannot parse, or takes for its own: whoever may publish can store
//! them.

use event::SeqRange;
use event_log::{EventLog, LogMessage, Result};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::{PARTITION, World};

const ODD_HEADERS: [&[u8]; 8] = [
    b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\n: no name\r\n\r\n",
    b"SPAM/9.9\r\nX: y\r\n\r\n",
    b"NATS/1.0 404 No Messages\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
    b"NATS/1.0 100 Idle Heartbeat\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
];

#[tokio::test]
async fn a_reader_delivers_messages_with_odd_headers_among_the_others() {
    let world = World::start().await;
    let count = append_odd_ones_between_others(&world).await;
    let messages = world.log.read_from(PARTITION, 1).await.unwrap();
    assert_payloads(&take(messages, count).await);
}

#[tokio::test]
async fn many_messages_with_odd_headers_cost_a_reader_few_connections() {
    let world = World::start().await;
    for index in 0..200 {
        publish(&world, ODD_HEADERS[index % ODD_HEADERS.len()], b"odd").await;
    }
    let log = EventLog::connect(&world.nats.url, "reader").await.unwrap();
    take(log.read_from(PARTITION, 1).await.unwrap(), 200).await;
    assert!(log.connection() <= 3, "{}", log.connection());
}

#[tokio::test]
async fn a_reader_that_waits_gets_a_message_with_odd_headers() {
    let world = World::start().await;
    let messages = world.log.read_from(PARTITION, 1).await.unwrap();
    let follow = tokio::spawn(take(messages, 3));
    world.append("first").await.unwrap();
    publish(&world, ODD_HEADERS[0], b"odd").await;
    world.append("last").await.unwrap();
    let payloads: Vec<_> = follow
        .await
        .unwrap()
        .into_iter()
        .map(|m| m.payload)
        .collect();
    assert_eq!(payloads, ["payload of first", "odd", "payload of last"]);
}

#[tokio::test]
async fn a_range_has_messages_with_odd_headers_among_the_others() {
    let world = World::start().await;
    let count = append_odd_ones_between_others(&world).await;
    let range = SeqRange {
        lo: 1,
        hi: count as u64,
    };
    let messages = world.log.read_range(PARTITION, range).await.unwrap();
    assert_payloads(&take(messages, count).await);
}

#[tokio::test]
async fn a_log_that_ends_with_odd_headers_is_known_again_after_a_restart() {
    let mut world = World::start().await;
    for (index, headers) in ODD_HEADERS.iter().enumerate() {
        publish(&world, headers, b"odd").await;
        let log = EventLog::connect(&world.nats.url, "reader").await.unwrap();
        let messages = log.read_from(PARTITION, 1).await.unwrap();
        take(messages, index + 1).await;

        world.nats.kill().await;
        world.nats.restart().await;
        testkit::eventually("the log is compared", async || {
            log.check_identity(PARTITION).await.is_ok()
        })
        .await;
    }
}

/// Returns the number of messages.
async fn append_odd_ones_between_others(world: &World) -> usize {
    for (index, headers) in ODD_HEADERS.iter().enumerate() {
        world.append(&index.to_string()).await.unwrap();
        publish(world, headers, format!("odd {index}").as_bytes()).await;
    }
    world.append("last").await.unwrap();
    2 * ODD_HEADERS.len() + 1
}

fn assert_payloads(messages: &[LogMessage]) {
    let mut expected = Vec::new();
    for index in 0..ODD_HEADERS.len() {
        expected.extend([format!("payload of {index}"), format!("odd {index}")]);
    }
    expected.push("payload of last".to_owned());
    let payloads: Vec<_> = messages
        .iter()
        .map(|message| message.payload.clone())
        .collect();
    assert_eq!(payloads, expected);
}

async fn take(messages: impl Stream<Item = Result<LogMessage>>, count: usize) -> Vec<LogMessage> {
    messages.take(count).try_collect().await.unwrap()
}

/// Publishes as a client does that writes its own protocol.
async fn publish(world: &World, headers: &[u8], payload: &[u8]) {
    let address = world.nats.url.strip_prefix("nats://").unwrap();
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let (head, all) = (headers.len(), headers.len() + payload.len());
    let publish = format!("HPUB ev.g1.p00.e1 {head} {all}\r\n");
    let connect = b"CONNECT {\"verbose\":false,\"headers\":true}\r\n";
    let parts = [
        connect,
        publish.as_bytes(),
        headers,
        payload,
        b"\r\nPING\r\n",
    ];
    stream.write_all(&parts.concat()).await.unwrap();
    let mut line = String::new();
    while line != "PONG\r\n" {
        line.clear();
        assert!(stream.read_line(&mut line).await.unwrap() > 0, "closed");
        assert!(!line.starts_with("-ERR"), "{line}");
    }
}
