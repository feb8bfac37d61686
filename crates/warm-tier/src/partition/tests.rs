use event::{
    ConversationId, Event, EventId, EventType, Position, StoredEvent, TenantId, Timestamp,
};
use event_proto::EncodedEvent;
use tempfile::TempDir;

use super::*;
use crate::tier::WarmTier;

const PARTITION: PartitionId = PartitionId::first(0);

/// An event of a megabyte.
fn event(seq: u64) -> StoredEvent {
    let event = Event {
        event_id: EventId::from_u128(u128::from(seq) << 64),
        tenant: TenantId::default_tenant(),
        conversation_id: ConversationId::new("c").unwrap(),
        task_id: None,
        event_type: EventType::new("output.chunk").unwrap(),
        timestamp: Timestamp::from_micros(1_000_000),
        content: format!("{seq:08}").repeat(1 << 17),
        content_encoding: event::ContentEncoding::Utf8,
        metadata: String::new(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    };
    StoredEvent {
        crc32c: EncodedEvent::encode(&event).crc32c,
        event,
        position: Position::new(PARTITION, seq, 0),
        received_at: Timestamp::from_micros(2_000_000),
        sample_rate: 1.0,
    }
}

fn frames(lo: u64, hi: u64) -> Frames {
    Frames {
        range: SeqRange { lo, hi },
        events: (lo..=hi).map(event).collect(),
        dead_letters: Vec::new(),
        encoded_bytes: hi - lo + 1,
    }
}

fn open(dir: &TempDir) -> WarmTier {
    WarmTier::open(Options {
        data: dir.path().to_owned(),
        memory_limit: 256 << 20,
        dedupe_memory: 1024,
    })
    .unwrap()
}

#[test]
fn an_append_without_memory_stores_what_fits_and_goes_on_when_there_is_more() {
    let dir = TempDir::new().unwrap();
    let tier = open(&dir);
    let mut partition = tier.partition(PARTITION, 1).unwrap();
    let settings = partition.engine.connect().unwrap();
    settings
        .execute_batch("SET max_temp_directory_size = '0KiB'; SET memory_limit = '12MiB'")
        .unwrap();

    let first = partition.append(frames(1, 32)).unwrap();

    assert!(first.refused.unwrap().is_out_of_memory());
    let through = first.through;
    assert!((1..32).contains(&through), "{through}");
    assert_eq!((first.stored, partition.next_seq()), (through, through + 1));
    let again = partition.append(frames(through + 1, 32)).unwrap();
    assert!(again.refused.is_some(), "there is no more memory yet");

    settings
        .execute_batch("SET memory_limit = '128MiB'")
        .unwrap();
    let lo = partition.next_seq();
    let rest = partition.append(frames(lo, 32)).unwrap();
    assert!(
        rest.refused.is_none() && rest.dropped.is_empty(),
        "{rest:?}"
    );
    assert_eq!(rest.stored, 33 - lo);
    drop((partition, tier, settings));
    let tier = open(&dir);
    let mut partition = tier.partition(PARTITION, 1).unwrap();
    let sealed = partition.seal(&RuleSet::default()).unwrap().unwrap();
    assert_eq!(sealed.slices[0].rows, 32);
}
