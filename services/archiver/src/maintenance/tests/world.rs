//! A log with rules, and a cold tier with one file.

use std::{sync::Arc, time::Duration};

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use cold_tier::{Change, ColdFile, ColdOptions, ColdTier, DayOf, PendingFile, Table};
use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionCount, PartitionId,
    Position, SeqRange, StoredEvent, TenantId, Timestamp,
};
use event_log::EventLog;
use retention::{Cold, Policy, RuleSet, Selector, Warm};
use tempfile::TempDir;
use testkit::Nats;

use super::super::Maintenance;
use crate::{metrics::Metrics, progress::Progress, summary::Summary};

pub(super) const P: PartitionId = PartitionId::first(0);
pub(super) const RECEIVED: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

pub(super) fn expiring_after(max_age_ms: Option<u64>) -> RuleSet {
    RuleSet::new(vec![expiry("test/all", Selector::default(), max_age_ms)])
}

/// Keeps events 10 s, and errors 1000 s.
pub(super) fn errors_live_longer() -> RuleSet {
    let errors = Selector {
        event_types: vec!["error".to_owned()],
        ..Selector::default()
    };
    RuleSet::new(vec![
        expiry("test/errors", errors, Some(1_000_000)),
        expiry("test/all", Selector::default(), Some(10_000)),
    ])
}

pub(super) fn expiry(name: &str, selector: Selector, max_age_ms: Option<u64>) -> Policy {
    Policy {
        name: name.to_owned(),
        selector,
        hot: None,
        warm: Some(Warm {
            max_age_ms: 1,
            max_bytes: None,
        }),
        cold: Some(Cold {
            max_age_ms,
            disabled: false,
            sampling: None,
        }),
        ..Policy::built_in()
    }
}

pub(super) fn stored() -> StoredEvent {
    stored_as(0, "error")
}

pub(super) fn stored_as(idx: u16, kind: &str) -> StoredEvent {
    let event = Event {
        event_id: EventId::from_u128(idx.into()),
        tenant: TenantId::default_tenant(),
        conversation_id: ConversationId::new("c").unwrap(),
        task_id: None,
        event_type: EventType::new(kind).unwrap(),
        timestamp: RECEIVED,
        content: "x".to_owned(),
        content_encoding: ContentEncoding::Utf8,
        metadata: String::new(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    };
    let crc32c = event_proto::EncodedEvent::encode(&event)
        .as_encoded()
        .crc32c;
    StoredEvent {
        event,
        position: Position::new(P, 1, idx),
        received_at: RECEIVED,
        crc32c,
        sample_rate: 1.0,
    }
}

/// A cold tier with one file with `rows`, of the class of `expiring_after(Some(1))`.
pub(super) async fn cold_tier(dir: &TempDir, rows: &[StoredEvent]) -> ColdTier {
    let address = dir.path().join("cold").display().to_string();
    let options = ColdOptions::default();
    let cold = ColdTier::open_for_writing(&address, &options).await;
    let cold = cold.unwrap();
    let range = SeqRange { lo: 1, hi: 1 };
    let pending = PendingFile {
        table: Table::Events,
        tenant: Some(TenantId::default_tenant()),
        dt: Some(DayOf::ReceivedAt.day(&stored())),
        rows: segment::encode(rows),
        class: Some("w1-c1".parse().unwrap()),
        ranges: vec![(P, range)],
        sampled: None,
        received_max: RECEIVED,
    };
    let change = Change {
        adds: vec![cold.stage(pending).await.unwrap()],
        range: Some((P, range)),
        ..Change::default()
    };
    cold.commit(Table::Events, &change, RECEIVED).await.unwrap();
    cold
}

/// A log with rules, and a cold tier.
pub(super) struct World {
    _nats: Nats,
    pub(super) dir: TempDir,
    pub(super) log: EventLog,
    pub(super) cold: ColdTier,
}

impl World {
    pub(super) async fn start(rows: &[StoredEvent]) -> Self {
        let (nats, dir) = (Nats::start().await, TempDir::new().unwrap());
        let log = EventLog::connect(&nats.url, "test").await.unwrap();
        let count = PartitionCount::new(1).unwrap();
        log.ensure_streams(count, 1, None).await.unwrap();
        let cold = cold_tier(&dir, rows).await;
        Self {
            _nats: nats,
            dir,
            log,
            cold,
        }
    }

    /// A run by `rules` so many seconds after the events were received; returns its summary.
    pub(super) async fn run(&self, rules: &RuleSet, seconds: u64) -> (anyhow::Result<()>, Summary) {
        let mut summary = Summary::default();
        let maintenance = Maintenance {
            cold: &self.cold,
            warm: &[],
            log: &self.log,
            rules,
            policy: &rules.hash(),
            file_memory: 1 << 20,
            now: RECEIVED.plus(Duration::from_secs(seconds)),
            metrics: &Metrics::register(&prometheus::Registry::new()).unwrap(),
            progress: &Progress::start(),
        };
        let hour = Duration::from_secs(3600);
        (maintenance.run(hour, &mut summary).await, summary)
    }

    pub(super) async fn files(&self) -> Vec<ColdFile> {
        let snapshot = self.cold.table_snapshot(Table::Events).await.unwrap();
        snapshot.files().cloned().collect()
    }

    pub(super) async fn rows(&self) -> u64 {
        self.files().await.iter().map(|file| file.rows).sum()
    }

    /// Deletes the objects of all live files, so that a run that reads one calls it damaged.
    pub(super) async fn delete_objects(&self) {
        for file in self.files().await {
            let object = self.dir.path().join("cold/events").join(file.path);
            std::fs::remove_file(object).unwrap();
        }
    }
}

/// A summary of the conversation `conversation`, which started a second before `RECEIVED`.
pub(super) async fn add_summary(cold: &ColdTier, conversation: &str, seq: u64) {
    let seq_of = i64::try_from(seq).unwrap();
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let long = |value| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let int = |value| Arc::new(Int32Array::from(vec![value])) as ArrayRef;
    let time = || {
        let start = RECEIVED.minus(Duration::from_secs(1)).as_micros();
        Arc::new(TimestampMicrosecondArray::from(vec![start])) as ArrayRef
    };
    let columns = vec![
        text("default"),
        text(conversation),
        long(1),
        long(1),
        time(),
        time(),
        time(),
        long(seq_of),
        int(0),
        long(seq_of),
        long(0),
        int(1),
        int(0),
        int(1),
        long(seq_of),
        long(seq_of),
    ];
    let table = Table::ConversationSummary;
    let range = (P, SeqRange { lo: seq, hi: seq });
    let pending = PendingFile {
        table,
        tenant: None,
        dt: None,
        rows: RecordBatch::try_new(table.schema(), columns).unwrap(),
        class: None,
        ranges: vec![range],
        sampled: None,
        received_max: RECEIVED,
    };
    let change = Change {
        adds: vec![cold.stage(pending).await.unwrap()],
        range: Some(range),
        ..Change::default()
    };
    cold.commit(table, &change, RECEIVED).await.unwrap();
}
