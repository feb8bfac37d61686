//! The servers that a hot-writer needs, and clients to write and read events.

use std::ops::RangeInclusive;

use bytes::Bytes;
use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionCount, PartitionId, Seq,
    TenantId, Timestamp,
};
use event_log::{EventLog, Watermark};
use event_proto::{EncodedEvent, FrameBuilder};
use hot_tier::{Bounds, HotRead, HotReader, Order};
use testkit::{Nats, Service, Valkey, eventually, free_port};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

pub(crate) const PARTITION: PartitionId = PartitionId::first(0);
/// Events of one frame: two of conversation `a` around one of `b`.
const FRAME: [&str; 3] = ["a", "b", "a"];

pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) valkey: Valkey,
    pub(crate) log: EventLog,
    pub(crate) reader: HotReader,
    pub(crate) admin_port: u16,
}

impl World {
    pub(crate) async fn start() -> Self {
        let world = Self::without_log().await;
        world.create_log().await;
        world
    }

    pub(crate) async fn without_log() -> Self {
        let (nats, valkey) = tokio::join!(Nats::start(), Valkey::start());
        Self {
            log: EventLog::connect(&nats.url, "test").await.unwrap(),
            reader: HotReader::connect(&valkey.url).await.unwrap(),
            admin_port: free_port(),
            nats,
            valkey,
        }
    }

    pub(crate) async fn create_log(&self) {
        let count = PartitionCount::new(1).unwrap();
        self.log.ensure_streams(count, 1, None).await.unwrap();
    }

    pub(crate) fn start_writer(&self) -> Service {
        self.start_writer_at(self.admin_port)
    }

    pub(crate) fn start_writer_at(&self, admin_port: u16) -> Service {
        let admin = format!("127.0.0.1:{admin_port}");
        let args = [
            ["--nats-url", &self.nats.url],
            ["--redis-url", &self.valkey.url],
            ["--admin-addr", &admin],
            ["--trim-interval", "100ms"],
        ];
        Service::start(env!("CARGO_BIN_EXE_hot-writer"), args.concat())
    }

    /// Appends one frame per sequence; the log must end just before the first.
    pub(crate) async fn publish(&self, seqs: RangeInclusive<Seq>) {
        for seq in seqs {
            let mut frame = FrameBuilder::new(TenantId::default_tenant(), PARTITION, 0);
            for (idx, name) in (0..).zip(FRAME) {
                let event = event(name, seq, idx);
                let encoded = EncodedEvent::encode(&event);
                let identity = encoded.identity(event.event_id);
                let conversation = frame.conversation(&event.conversation_id);
                frame.push(identity, conversation, encoded.as_encoded());
            }
            let id = frame.message_id();
            let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            let headers = vec![("traceparent".to_owned(), traceparent.to_owned())];
            let appended = self.log.append(PARTITION, &id, frame.encode(), headers);
            assert_eq!(appended.await.unwrap().seq, seq);
        }
    }

    /// Appends bytes that ingest would never write.
    pub(crate) async fn publish_raw(&self, id: &str, payload: &'static [u8]) {
        let payload = Bytes::from_static(payload);
        let append = self.log.append(PARTITION, id, payload, Vec::new());
        append.await.unwrap();
    }

    /// Publishes the watermark of a warm tier that has sealed everything up to `sealed`.
    pub(crate) async fn seal(&self, sealed: Seq) {
        let watermark = Watermark::Warm {
            partition: PARTITION,
            committed: sealed,
            sealed,
            events: 0,
            bytes: 0,
            oldest_at: None,
            flight_url: String::new(),
        };
        self.log.publish_watermark(&watermark).await.unwrap();
    }

    /// All rows of a conversation; `None` when the tier has no cursor or does not answer.
    pub(crate) async fn read(&self, name: &str) -> Option<HotRead> {
        let conversation = ConversationId::new(name).unwrap();
        let (tenant, bounds) = (TenantId::default_tenant(), Bounds::default());
        let order = Order::Ascending;
        let read = self
            .reader
            .read(PARTITION, &tenant, &conversation, bounds, order, 100_000);
        read.await.ok().flatten()
    }

    pub(crate) async fn until_last(&self, seq: Seq) {
        eventually(&format!("the hot tier is at {seq}"), async || {
            self.read("a").await.is_some_and(|read| read.last >= seq)
        })
        .await;
    }

    pub(crate) async fn until_floor(&self, seq: Seq) {
        eventually(&format!("the floor of the hot tier is {seq}"), async || {
            self.read("a").await.is_some_and(|read| read.floor == seq)
        })
        .await;
    }

    /// Asserts that both conversations are complete from `floor` to `last`, and have no other events.
    pub(crate) async fn assert_holds(&self, floor: Seq, last: Seq) {
        for name in ["a", "b"] {
            let read = self.read(name).await.unwrap();
            assert_eq!((read.floor, read.last), (floor, last));
            let expected: Vec<_> = (floor..=last)
                .flat_map(|seq| (0..).zip(FRAME).map(move |(idx, name)| (seq, idx, name)))
                .filter(|(_, _, of)| *of == name)
                .map(|(seq, idx, _)| ((seq, idx), event(name, seq, idx)))
                .collect();
            let rows = read.rows.into_iter();
            let rows: Vec<_> = rows.map(|row| (row.position.offset(), row.event)).collect();
            assert_eq!(rows, expected);
        }
    }

    pub(crate) async fn hot_watermark(&self) -> Option<(Seq, Seq, u64)> {
        let watermarks = self.log.watermarks().await.unwrap();
        watermarks
            .into_iter()
            .find_map(|watermark| match watermark {
                Watermark::Hot {
                    floor,
                    last,
                    events,
                    ..
                } => Some((floor, last, events)),
                _ => None,
            })
    }

    /// The response of the writer's admin server; empty when it does not answer.
    pub(crate) async fn admin(&self, path: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.admin_port)).await else {
            return String::new();
        };
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn event(name: &str, seq: Seq, idx: u16) -> Event {
    Event {
        event_id: EventId::from_u128(u128::from(seq) << 16 | u128::from(idx)),
        tenant: TenantId::default_tenant(),
        conversation_id: ConversationId::new(name).unwrap(),
        task_id: None,
        event_type: EventType::new("output.chunk").unwrap(),
        timestamp: Timestamp::from_micros(1_000_000),
        content: format!("event {idx} of frame {seq}"),
        content_encoding: ContentEncoding::Utf8,
        metadata: String::new(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    }
}
