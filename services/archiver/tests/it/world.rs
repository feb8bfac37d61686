//! A log, a compactor that seals soon, a cold tier on the disk, and archivers on demand.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use arrow::{array::AsArray as _, datatypes::Int64Type};
use cold_tier::{ColdFile, ColdOptions, ColdScan, ColdSnapshot, ColdTier, Order, Origin, Table};
use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionCount, PartitionId,
    StoredEvent, TenantId, Timestamp,
};
use event_log::{EventLog, Watermark};
use event_proto::{EncodedEvent, FrameBuilder};
use retention::{Policy, RuleSet};
use tempfile::TempDir;
use testkit::{Nats, SeaweedFs, Service, eventually, free_port, program};
use warm_tier::remote::Client;

pub(crate) use crate::rules::{policy, sampling};

pub(crate) const PARTITIONS: u16 = 2;
const LONG: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) log: EventLog,
    pub(crate) nats: Nats,
    flight: String,
    pub(crate) dir: TempDir,
    compactor: Option<Service>,
}

impl World {
    /// `policy` is in force from the start, so that slices are sealed with its classes; without one no
    /// rules were ever published. The compactor drops what is in the cold tier "cold".
    pub(crate) async fn start(policy: Option<Policy>) -> Self {
        let nats = Nats::start().await;
        let log = EventLog::connect(&nats.url, "test").await.unwrap();
        let count = PartitionCount::new(PARTITIONS).unwrap();
        log.ensure_streams(count, 1, None).await.unwrap();
        if let Some(policy) = policy {
            let rules = RuleSet::new(vec![policy]);
            log.publish_policy(&rules).await.unwrap();
        }
        let mut world = Self {
            log,
            nats,
            flight: format!("http://127.0.0.1:{}", free_port()),
            dir: TempDir::new().unwrap(),
            compactor: None,
        };
        world.start_compactor();
        world
    }

    pub(crate) fn start_compactor(&mut self) {
        let (data, cold) = (self.path("warm"), self.path("cold"));
        let compactor = Service::start(
            program("compactor"),
            [
                ["--nats-url", &self.nats.url],
                ["--flight-addr", self.flight.trim_start_matches("http://")],
                ["--admin-addr", "127.0.0.1:0"],
                ["--seal-after", "200ms"],
                ["--maintenance-interval", "300ms"],
                ["--data", &data],
                ["--cold-url", &cold],
            ]
            .concat(),
        );
        self.compactor = Some(compactor);
    }

    pub(crate) async fn stop_compactor(&mut self) {
        self.compactor.take().expect("it runs").kill().await;
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(crate) fn archiver_of(&self, cold: &str, compactor: &str) -> Service {
        self.archiver_with(cold, compactor, &[])
    }

    fn archiver_with(&self, cold: &str, compactor: &str, more: &[&str]) -> Service {
        self.archiver_at(&self.path(cold), compactor, more)
    }

    /// An archiver into the bucket of `store` that runs again and again.
    pub(crate) fn archiver_into(&self, store: &SeaweedFs, more: &[&str]) -> Service {
        let (endpoint, bucket) = (&store.endpoint, format!("s3://{}/cold", store.bucket));
        let keys = [
            ["--s3-endpoint", endpoint],
            ["--s3-access-key", &store.access_key],
            ["--s3-secret-key", &store.secret_key],
            ["--s3-region", &store.region],
            ["--every", "100ms"],
        ];
        let flags = [&keys.concat()[..], &["--s3-allow-http"], more].concat();
        self.archiver_at(&bucket, &self.flight, &flags)
    }

    fn archiver_at(&self, cold: &str, compactor: &str, more: &[&str]) -> Service {
        Service::start(
            env!("CARGO_BIN_EXE_archiver"),
            [
                ["--nats-url", &self.nats.url],
                ["--compactor-url", compactor],
                ["--cold-url", cold],
                ["--admin-addr", "127.0.0.1:0"],
            ]
            .concat()
            .into_iter()
            .chain(more.iter().copied()),
        )
    }

    pub(crate) fn archiver(&self) -> Service {
        self.archiver_of("cold", &self.flight)
    }

    /// A whole run into the cold tier `name`; returns its summary.
    pub(crate) async fn archive_to(&self, name: &str) -> String {
        self.archive_with(name, &[]).await
    }

    pub(crate) async fn archive_with(&self, name: &str, more: &[&str]) -> String {
        let mut archiver = self.archiver_with(name, &self.flight, more);
        let status = archiver.wait(LONG).await;
        assert!(status.success(), "{}", archiver.stderr());
        archiver.stdout()
    }

    pub(crate) async fn archive(&self) -> String {
        self.archive_to("cold").await
    }

    /// The URL of the compactor.
    pub(crate) fn flight(&self) -> &str {
        &self.flight
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.flight, None).unwrap()
    }

    pub(crate) async fn publish(&self, numbers: std::ops::Range<u64>) {
        self.publish_events(numbers.map(event)).await;
    }

    pub(crate) async fn publish_events(&self, events: impl IntoIterator<Item = Event>) {
        let count = PartitionCount::new(PARTITIONS).unwrap();
        let mut events_by_partition: BTreeMap<PartitionId, Vec<Event>> = BTreeMap::new();
        for event in events {
            let partition = count.partition_of(&event.tenant, &event.conversation_id);
            events_by_partition
                .entry(partition)
                .or_default()
                .push(event);
        }
        for (partition, events) in events_by_partition {
            for chunk in events.chunks(7) {
                let mut frame = FrameBuilder::new(TenantId::default_tenant(), partition, 0);
                for event in chunk {
                    let encoded = EncodedEvent::encode(event);
                    let identity = encoded.identity(event.event_id);
                    let conversation = frame.conversation(&event.conversation_id);
                    frame.push(identity, conversation, encoded.as_encoded());
                }
                let (id, headers) = (frame.message_id(), Vec::new());
                let appended = self.log.append(partition, &id, frame.encode(), headers);
                appended.await.unwrap();
            }
        }
    }

    pub(crate) async fn until_sealed(&self) {
        let client = self.client();
        eventually("everything is sealed", async || {
            let Ok(coverage) = client.coverage().await else {
                return false;
            };
            for partition in PartitionCount::new(PARTITIONS).unwrap().all() {
                let last = self.log.last_seq(partition).await.unwrap();
                if coverage
                    .partition(partition)
                    .is_none_or(|own| own.sealed != last)
                {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Waits until warm has dropped everything.
    pub(crate) async fn until_left_warm(&self) {
        let client = self.client();
        eventually("everything has left warm", async || {
            let coverage = client.coverage().await;
            coverage.is_ok_and(|own| own.partitions.iter().all(|own| own.slices.is_empty()))
        })
        .await;
    }

    pub(crate) async fn snapshot(&self, name: &str) -> (ColdTier, ColdSnapshot) {
        let cold = ColdTier::open(&self.path(name), &ColdOptions::default()).unwrap();
        let snapshot = cold.snapshot().await.unwrap();
        (cold, snapshot)
    }

    /// Every event in cold, by position.
    pub(crate) async fn in_cold(&self, name: &str) -> Vec<StoredEvent> {
        let (cold, snapshot) = self.snapshot(name).await;
        let scan = ColdScan {
            order: Some(Order::Asc),
            ..ColdScan::default()
        };
        let batches = cold.read(&snapshot.events, &scan).await.unwrap();
        let events = batches.iter().flat_map(|b| segment::decode(b).unwrap());
        events.collect()
    }

    /// Paths of live event files: named by their content.
    pub(crate) async fn files(&self, name: &str) -> BTreeSet<String> {
        let (_, snapshot) = self.snapshot(name).await;
        let files = snapshot.events.files();
        files.map(|file| file.path.clone()).collect()
    }

    /// The hashes of the live files: no two files of equal rows have one name.
    pub(crate) async fn hashes(&self, name: &str) -> BTreeSet<String> {
        let (_, snapshot) = self.snapshot(name).await;
        let files = snapshot.events.files();
        let hashes = files.filter_map(|file| Some(file.provenance.as_ref()?.sha256.clone()));
        hashes.collect()
    }

    /// The number of events that the live files were made of.
    pub(crate) async fn archived(&self, name: &str) -> u64 {
        let (_, snapshot) = self.snapshot(name).await;
        let origin = Origin::total(snapshot.events.files().map(ColdFile::origin));
        origin.expect("every file says what it was made of").rows
    }

    /// The events that each rollup table counts.
    pub(crate) async fn counted(&self) -> [i64; 2] {
        let (cold, snapshot) = self.snapshot("cold").await;
        let mut counted = [0; 2];
        let tables = [Table::HourlyStats, Table::ConversationSummary];
        for (sum, table) in counted.iter_mut().zip(tables) {
            let scan = ColdScan::default();
            let read = cold.read(snapshot.table(table), &scan);
            for batch in read.await.unwrap() {
                *sum += batch["events"]
                    .as_primitive::<Int64Type>()
                    .values()
                    .iter()
                    .sum::<i64>();
            }
        }
        counted
    }

    /// Waits until cold has committed everything of the log.
    pub(crate) async fn until_committed(&self) {
        eventually("everything is in cold", async || {
            let mut open = PARTITIONS;
            for watermark in self.log.watermarks().await.unwrap() {
                if let Watermark::Cold {
                    partition,
                    committed,
                    ..
                } = watermark
                {
                    let last = self.log.last_seq(partition).await.unwrap();
                    open -= u16::from(committed == last);
                }
            }
            open == 0
        })
        .await;
    }

    /// Asserts that cold has the events `0..count` once and unchanged, and that rollups and
    /// progress agree.
    pub(crate) async fn assert_whole(&self, count: u64) {
        let stored = self.in_cold("cold").await;
        let mut numbers: Vec<u64> = stored.iter().map(number).collect();
        for (stored, number) in stored.iter().zip(&numbers) {
            assert_eq!(stored.event, event(*number));
        }
        numbers.sort_unstable();
        assert_eq!(numbers, Vec::from_iter(0..count));
        assert_eq!(self.counted().await, [i64::try_from(count).unwrap(); 2]);
        let (_, snapshot) = self.snapshot("cold").await;
        for partition in PartitionCount::new(PARTITIONS).unwrap().all() {
            let last = self.log.last_seq(partition).await.unwrap();
            assert_eq!(snapshot.events.committed(partition), last);
        }
    }
}

/// Event `number`, of one of seven conversations; about an hour apart within a conversation.
pub(crate) fn event(number: u64) -> Event {
    let types = ["output.chunk", "tool.call", "output.chunk", "error"];
    let micros = 1_795_000_000_000_000 + i64::try_from(number).unwrap() * 500_000_000;
    Event {
        event_id: EventId::from_u128(
            0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number),
        ),
        tenant: TenantId::default_tenant(),
        conversation_id: ConversationId::new(&format!("conversation-{}", number % 7)).unwrap(),
        task_id: None,
        event_type: EventType::new(types[usize::try_from(number % 4).unwrap()]).unwrap(),
        timestamp: Timestamp::from_micros(micros),
        content: format!("chunk {number}"),
        content_encoding: ContentEncoding::Utf8,
        metadata: String::new(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    }
}

pub(crate) fn number(stored: &StoredEvent) -> u64 {
    let text = stored.event.content.strip_prefix("chunk ").unwrap();
    text.parse().unwrap()
}
