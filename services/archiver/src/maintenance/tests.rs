use std::time::Duration;

use cold_tier::{Change, ColdOptions, ColdTier, DayOf, PendingFile, Table};
use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionCount, PartitionId,
    Position, SeqRange, StoredEvent, TenantId, Timestamp,
};
use event_log::EventLog;
use retention::{Cold, Policy, RuleSet, Warm};
use tempfile::TempDir;
use testkit::Nats;

use super::Maintenance;
use crate::{metrics::Metrics, progress::Progress, summary::Summary};

const P: PartitionId = PartitionId::first(0);
const RECEIVED: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

fn expiring_after(max_age_ms: Option<u64>) -> RuleSet {
    RuleSet::new(vec![Policy {
        name: "test/all".to_owned(),
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
    }])
}

fn stored() -> StoredEvent {
    let event = Event {
        event_id: EventId::from_u128(7),
        tenant: TenantId::default_tenant(),
        conversation_id: ConversationId::new("c").unwrap(),
        task_id: None,
        event_type: EventType::new("error").unwrap(),
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
        position: Position::new(P, 1, 0),
        received_at: RECEIVED,
        crc32c,
        sample_rate: 1.0,
    }
}

/// A cold tier with one event, of the class of `expiring_after(Some(1))`.
async fn cold_tier(dir: &TempDir) -> ColdTier {
    let address = dir.path().join("cold").display().to_string();
    let options = ColdOptions::default();
    let cold = ColdTier::open_for_writing(&address, &options).await;
    let cold = cold.unwrap();
    let range = SeqRange { lo: 1, hi: 1 };
    let pending = PendingFile {
        table: Table::Events,
        tenant: Some(TenantId::default_tenant()),
        dt: Some(DayOf::ReceivedAt.day(&stored())),
        rows: segment::encode(&[stored()]),
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

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_rules_changed_removes_nothing_and_says_so() {
    let (nats, dir) = (Nats::start().await, TempDir::new().unwrap());
    let log = EventLog::connect(&nats.url, "test").await.unwrap();
    let count = PartitionCount::new(1).unwrap();
    log.ensure_streams(count, 1, None).await.unwrap();
    let cold = cold_tier(&dir).await;
    let rules = expiring_after(Some(1));
    let run = async || {
        let mut summary = Summary::default();
        let maintenance = Maintenance {
            cold: &cold,
            log: &log,
            rules: &rules,
            policy: &rules.hash(),
            now: RECEIVED.plus(Duration::from_secs(1)),
            metrics: &Metrics::register(&prometheus::Registry::new()).unwrap(),
            progress: &Progress::start(),
        };
        let result = maintenance
            .run(Duration::from_secs(3600), &mut summary)
            .await;
        (result, summary.expired)
    };
    let rows = async || cold.snapshot().await.unwrap().events.rows();

    log.publish_policy(&expiring_after(None)).await.unwrap();
    let (result, _) = run().await;
    let error = format!("{:#}", result.unwrap_err());
    assert!(
        error.contains("rules changed during the run; the next run applies them"),
        "{error}"
    );
    assert_eq!(rows().await, 1);

    log.publish_policy(&rules).await.unwrap();
    let (result, expired) = run().await;
    result.unwrap();
    assert_eq!((expired, rows().await), (1, 0));
}
