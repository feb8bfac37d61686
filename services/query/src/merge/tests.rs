use std::collections::BTreeSet;

use event::{ContentEncoding, Event, EventType, PartitionId, Position, TenantId, Timestamp};
use proptest::prelude::*;

use super::*;

pub(crate) fn row(seq: Seq, idx: u16, id: u128) -> StoredEvent {
    let event = Event {
        event_id: EventId::from_u128(id),
        tenant: TenantId::default_tenant(),
        conversation_id: ConversationId::new("c").unwrap(),
        task_id: None,
        event_type: EventType::new("output.chunk").unwrap(),
        timestamp: Timestamp::from_micros(0),
        content: String::new(),
        content_encoding: ContentEncoding::Utf8,
        metadata: String::new(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    };
    StoredEvent {
        event,
        position: Position::new(PartitionId::first(0), seq, idx),
        received_at: Timestamp::from_micros(0),
        crc32c: 0,
        sample_rate: 1.0,
    }
}

fn offsets(rows: &[StoredEvent]) -> Vec<(Seq, u16)> {
    rows.iter().map(|row| row.position.offset()).collect()
}

#[test]
fn rows_come_in_position_order_from_either_end() {
    let rows = vec![row(3, 0, 3), row(1, 1, 2), row(1, 0, 1)];
    assert_eq!(
        offsets(&merge(rows.clone(), 9, ReadOrder::Asc)),
        [(1, 0), (1, 1), (3, 0)]
    );
    assert_eq!(
        offsets(&merge(rows, 9, ReadOrder::Desc)),
        [(3, 0), (1, 1), (1, 0)]
    );
}

#[test]
fn a_row_that_two_tiers_have_is_one_row() {
    let rows = vec![row(1, 0, 1), row(1, 0, 1)];
    assert_eq!(offsets(&merge(rows, 9, ReadOrder::Asc)), [(1, 0)]);
}

#[test]
fn of_duplicates_the_first_stays() {
    let rows = vec![row(5, 0, 7), row(2, 0, 7), row(9, 0, 7)];
    assert_eq!(offsets(&merge(rows.clone(), 2, ReadOrder::Desc)), [(2, 0)]);
    // Rows up to `checked` are not compared.
    assert_eq!(offsets(&merge(rows, 5, ReadOrder::Asc)), [(2, 0), (5, 0)]);
}

proptest! {
    #[test]
    fn above_checked_every_event_is_there_once(
        events in prop::collection::vec((1..20_u64, 0..3_u16, 0..12_u128), 0..40),
    ) {
        let rows: Vec<_> = events.iter().map(|(seq, idx, id)| row(*seq, *idx, *id)).collect();
        let merged = merge(rows, 0, ReadOrder::Asc);
        let ids: BTreeSet<_> = merged.iter().map(|row| row.event.event_id).collect();
        prop_assert_eq!(ids.len(), merged.len());
        prop_assert!(merged.windows(2).all(|pair| pair[0].position < pair[1].position));
    }
}
