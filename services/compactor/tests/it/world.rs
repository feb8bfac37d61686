//! A log, a data folder, and a compactor that comes and goes.

use std::{collections::BTreeMap, path::PathBuf};

use cold_tier::{ColdOptions, ColdTier};
use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionCount, PartitionId, Seq,
    SeqRange, StoredEvent, TenantId, Timestamp,
};
use event_log::EventLog;
use event_proto::{EncodedEvent, FrameBuilder};
use tempfile::TempDir;
use testkit::{Nats, Service, eventually, free_port};
use warm_tier::remote::{Client, Coverage, Order, Scan, Table};

pub(crate) const PARTITIONS: u16 = 2;

pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) log: EventLog,
    pub(crate) flight_port: u16,
    pub(crate) admin_port: u16,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        let nats = Nats::start().await;
        let log = EventLog::connect(&nats.url, "test").await.unwrap();
        let count = PartitionCount::new(PARTITIONS).unwrap();
        log.ensure_streams(count, 1, None).await.unwrap();
        Self {
            nats,
            log,
            flight_port: free_port(),
            admin_port: free_port(),
            dir: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("warm")
    }

    /// The URL of a cold tier in the folder, and the tier.
    pub(crate) async fn cold(&self) -> (String, ColdTier) {
        let url = self.dir.path().join("cold").display().to_string();
        let tier = ColdTier::open_for_writing(&url, &ColdOptions::default()).await;
        (url, tier.unwrap())
    }

    pub(crate) fn args(&self, more: &[&str]) -> Vec<String> {
        let mut args: Vec<String> = [
            "--nats-url",
            &self.nats.url,
            "--flight-addr",
            &format!("127.0.0.1:{}", self.flight_port),
            "--admin-addr",
            &format!("127.0.0.1:{}", self.admin_port),
            "--maintenance-interval",
            "200ms",
            "--data",
        ]
        .map(str::to_owned)
        .to_vec();
        args.push(self.data().display().to_string());
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        args
    }

    pub(crate) fn compactor(&self, more: &[&str]) -> Service {
        Service::start(env!("CARGO_BIN_EXE_compactor"), self.args(more))
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("http://127.0.0.1:{}", self.flight_port), None).unwrap()
    }

    /// Appends the events `numbers`, `per_frame` in one frame.
    pub(crate) async fn publish(&self, numbers: std::ops::Range<u64>, per_frame: usize) {
        let mut of: BTreeMap<PartitionId, Vec<Event>> = BTreeMap::new();
        for event in numbers.map(event) {
            of.entry(partition_of(&event)).or_default().push(event);
        }
        for events in of.values() {
            for chunk in events.chunks(per_frame) {
                self.publish_events(chunk).await;
            }
        }
    }

    /// Appends `events`, which are of one partition, as one frame.
    pub(crate) async fn publish_events(&self, events: &[Event]) {
        let partition = partition_of(&events[0]);
        let mut frame = FrameBuilder::new(TenantId::default_tenant(), partition, 0);
        for event in events {
            let encoded = EncodedEvent::encode(event);
            let identity = encoded.identity(event.event_id);
            let conversation = frame.conversation(&event.conversation_id);
            frame.push(identity, conversation, encoded.as_encoded());
        }
        let (id, headers) = (frame.message_id(), Vec::new());
        let appended = self.log.append(partition, &id, frame.encode(), headers);
        appended.await.unwrap();
    }

    pub(crate) async fn last(&self) -> BTreeMap<PartitionId, Seq> {
        let mut last = BTreeMap::new();
        for partition in PartitionCount::new(PARTITIONS).unwrap().all() {
            last.insert(partition, self.log.last_seq(partition).await.unwrap());
        }
        last
    }

    /// Waits until everything that is in the log now is sealed.
    pub(crate) async fn until_sealed(&self) -> Coverage {
        let last = self.last().await;
        let client = self.client();
        eventually("everything is sealed", async || {
            let Ok(coverage) = client.coverage().await else {
                return false;
            };
            let sealed = |(partition, last): (&PartitionId, &Seq)| {
                let coverage = coverage.partition(*partition);
                coverage.is_some_and(|coverage| coverage.sealed == *last)
            };
            last.iter().all(sealed)
        })
        .await;
        client.coverage().await.unwrap()
    }

    /// Waits until the compactors of all partitions together have committed `frames`.
    pub(crate) async fn until_committed(&self, frames: u64) {
        let client = self.client();
        eventually("some more is committed", async || {
            client.coverage().await.is_ok_and(|coverage| {
                let committed = coverage.partitions.iter().map(|p| p.committed);
                committed.sum::<u64>() >= frames
            })
        })
        .await;
    }

    /// Every event that is served, by partition and position.
    pub(crate) async fn stored(&self) -> Vec<StoredEvent> {
        self.stored_or_none().await.unwrap()
    }

    /// `None` when it cannot be read now.
    pub(crate) async fn stored_or_none(&self) -> Option<Vec<StoredEvent>> {
        let client = self.client();
        let mut stored = Vec::new();
        for partition in client.coverage().await.ok()?.partitions {
            let Some(SeqRange { lo, hi }) = partition.sealed_range() else {
                continue;
            };
            let range = SeqRange { lo, hi };
            let mut scan = Scan::new(Table::Events, partition.partition, vec![range]);
            scan.order = Order::Asc;
            for batch in client.collect(&scan).await.ok()? {
                stored.extend(segment::decode(&batch).unwrap());
            }
        }
        Some(stored)
    }

    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.admin_port);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        testkit::metric(&text, name)
    }

    /// The verbose report of readiness; empty when it does not answer.
    pub(crate) async fn readiness(&self) -> String {
        let url = format!("http://127.0.0.1:{}/readyz?verbose", self.admin_port);
        match reqwest::get(url).await {
            Ok(answer) => answer.text().await.unwrap(),
            Err(_) => String::new(),
        }
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let url = format!("http://127.0.0.1:{}/readyz", self.admin_port);
        reqwest::get(url)
            .await
            .is_ok_and(|answer| answer.status().is_success())
    }
}

pub(crate) fn partition_of(event: &Event) -> PartitionId {
    let count = PartitionCount::new(PARTITIONS).unwrap();
    count.partition_of(&event.tenant, &event.conversation_id)
}

/// Event `number`: one of seven conversations.
pub(crate) fn event(number: u64) -> Event {
    let types = ["output.chunk", "tool.call", "error"];
    Event {
        event_id: EventId::from_u128(
            0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number),
        ),
        tenant: TenantId::default_tenant(),
        conversation_id: ConversationId::new(&format!("conversation-{}", number % 7)).unwrap(),
        task_id: None,
        event_type: EventType::new(types[usize::try_from(number % 3).unwrap()]).unwrap(),
        timestamp: Timestamp::from_micros(1_795_000_000_000_000 + i64::try_from(number).unwrap()),
        content: format!("chunk {number}"),
        content_encoding: ContentEncoding::Utf8,
        metadata: String::new(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    }
}

/// Asserts that `stored` are the events `0..count`, each once and unchanged, each conversation in
/// order.
#[track_caller]
pub(crate) fn assert_once(stored: &[StoredEvent], count: u64) {
    let mut numbers: Vec<u64> = stored.iter().map(number).collect();
    for (stored, number) in stored.iter().zip(&numbers) {
        assert_eq!(stored.event, event(*number));
    }
    let of = |conversation: u64| {
        let own = numbers
            .iter()
            .copied()
            .filter(move |number| number % 7 == conversation);
        own.collect::<Vec<_>>()
    };
    for conversation in 0..7 {
        assert!(
            of(conversation).is_sorted(),
            "conversation {conversation} is out of order"
        );
    }
    numbers.sort_unstable();
    let expected: Vec<u64> = (0..count).collect();
    let repeated = numbers.len() - {
        let mut distinct = numbers.clone();
        distinct.dedup();
        distinct.len()
    };
    assert!(
        numbers == expected,
        "{} of {count} events, {repeated} of them twice",
        numbers.len()
    );
}

fn number(stored: &StoredEvent) -> u64 {
    let text = stored.event.content.strip_prefix("chunk ").unwrap();
    text.parse().unwrap()
}
