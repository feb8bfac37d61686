//! A server, a writer, a reader, and events to write.

use std::ops::RangeInclusive;

use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionId, Seq, TenantId,
    Timestamp,
};
use event_proto::{EncodedEvent, Pack, PackedEvent};
use hot_tier::{
    Appended, Bounds, ConversationPack, HotRead, HotReader, HotWriter, Limits, Order, Trimmed,
};
use testkit::Valkey;

pub(crate) const PARTITION: PartitionId = PartitionId::first(3);
pub(crate) type Offset = (Seq, u16);

pub(crate) struct World {
    pub(crate) server: Valkey,
    pub(crate) writer: HotWriter,
    pub(crate) reader: HotReader,
}

/// Runs `test` on Valkey and on Redis.
pub(crate) async fn on_each_server(test: impl AsyncFn(World)) {
    for program in ["valkey-server", "redis-server"] {
        test(World::start(program).await).await;
    }
}

impl World {
    pub(crate) async fn start(program: &'static str) -> Self {
        let server = Valkey::start_as(program).await;
        Self {
            writer: HotWriter::connect(&server.url).await.unwrap(),
            reader: HotReader::connect(&server.url).await.unwrap(),
            server,
        }
    }

    /// One event of `name` per sequence, all in one pack.
    pub(crate) async fn append(&self, name: &str, seqs: RangeInclusive<Seq>) -> Appended {
        let offsets: Vec<_> = seqs.clone().map(|seq| (seq, 0)).collect();
        let packs = [pack(name, &offsets)];
        let append = self
            .writer
            .append(PARTITION, seqs.start() - 1, *seqs.end(), &packs);
        append.await.unwrap()
    }

    /// One event of 250,000 bytes, which takes few in the tier.
    pub(crate) async fn append_large(&self, name: &str, seq: Seq) {
        let mut large = event(name, (seq, 0));
        large.content = "x".repeat(250_000);
        let mut pack = pack(name, &[(seq, 0)]);
        pack.pack.events[0].encoded = EncodedEvent::encode(&large);
        let packs = [pack];
        let append = self.writer.append(PARTITION, seq - 1, seq, &packs);
        assert_eq!(append.await.unwrap(), Appended::Ok);
    }

    pub(crate) async fn trim(&self, name: &str, limits: Limits) -> Trimmed {
        let (tenant, conversation) = (tenant(), conversation(name));
        let trim = self.writer.trim(PARTITION, &tenant, &conversation, limits);
        let trimmed = trim.await.unwrap();
        self.writer.raise_floor(PARTITION).await.unwrap();
        trimmed
    }

    /// Reads all rows of a conversation.
    pub(crate) async fn read(&self, name: &str) -> HotRead {
        self.read_within(name, Bounds::default(), Order::Ascending, 10_000)
            .await
            .unwrap()
    }

    /// Retries: a server whose disk is busy for seconds answers too late, and is then left alone for a while.
    pub(crate) async fn read_within(
        &self,
        name: &str,
        bounds: Bounds,
        order: Order,
        limit: usize,
    ) -> Option<HotRead> {
        let (tenant, conversation) = (tenant(), conversation(name));
        let mut found = None;
        testkit::eventually("the server answers", async || {
            let read = self
                .reader
                .read(PARTITION, &tenant, &conversation, bounds, order, limit);
            match read.await {
                Err(error) if error.is_transient() => false,
                read => {
                    found = read.unwrap();
                    true
                }
            }
        })
        .await;
        found
    }

    pub(crate) async fn offsets(&self, name: &str) -> Vec<Offset> {
        offsets(&self.read(name).await)
    }

    /// The keys of the server, except for the cursor and the guard.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let reply = self.server.command("KEYS *").await;
        let keys = reply.lines().filter(|line| line.starts_with('{'));
        let mut keys: Vec<_> = keys.map(str::to_owned).collect();
        keys.retain(|key| !key.ends_with(":cursor") && !key.ends_with(":guard"));
        keys.sort();
        keys
    }
}

pub(crate) fn offsets(read: &HotRead) -> Vec<Offset> {
    read.rows.iter().map(|row| row.position.offset()).collect()
}

pub(crate) fn tenant() -> TenantId {
    TenantId::default_tenant()
}

pub(crate) fn conversation(name: &str) -> ConversationId {
    ConversationId::new(name).unwrap()
}

/// The `received_at` of sequence `seq`: second `seq`.
pub(crate) fn at(seq: Seq) -> Timestamp {
    Timestamp::from_micros(i64::try_from(seq).unwrap() * 1_000_000)
}

pub(crate) fn event(name: &str, (seq, idx): Offset) -> Event {
    Event {
        event_id: EventId::from_u128(u128::from(seq) << 16 | u128::from(idx)),
        tenant: tenant(),
        conversation_id: conversation(name),
        task_id: None,
        event_type: EventType::new("output.chunk").unwrap(),
        timestamp: at(seq),
        content: format!("event {idx} of frame {seq}"),
        content_encoding: ContentEncoding::Utf8,
        metadata: String::new(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    }
}

pub(crate) fn pack(name: &str, offsets: &[Offset]) -> ConversationPack {
    let packed = |offset: &Offset| PackedEvent {
        seq: offset.0,
        idx: offset.1,
        received_at: at(offset.0),
        encoded: EncodedEvent::encode(&event(name, *offset)),
    };
    ConversationPack {
        tenant: tenant(),
        conversation: conversation(name),
        pack: Pack {
            events: offsets.iter().map(packed).collect(),
        },
    }
}
