use event::PartitionId;
use event::{
    ConversationId, Event, EventId, EventType, Position, StoredEvent, TenantId, Timestamp,
};
use event_proto::EncodedEvent;
use tempfile::TempDir;

use super::*;
use crate::{
    frames::Frames,
    options::Options,
    partition::Partition,
    scan_request::{Order, Scan, Table},
    tier::WarmTier,
};

const PARTITION: PartitionId = PartitionId::first(0);

fn event(number: u64, seq: u64, idx: u16) -> StoredEvent {
    let event = Event {
        event_id: EventId::from_u128(u128::from(number) << 64),
        tenant: TenantId::default_tenant(),
        conversation_id: ConversationId::new(&format!("c-{}", number % 3)).unwrap(),
        task_id: None,
        event_type: EventType::new("output.chunk").unwrap(),
        timestamp: Timestamp::from_micros(1_000_000),
        content: format!("chunk {number}"),
        content_encoding: event::ContentEncoding::Utf8,
        metadata: String::new(),
        correlation_id: None,
        trace_id: None,
        span_id: None,
    };
    StoredEvent {
        crc32c: EncodedEvent::encode(&event).crc32c,
        event,
        position: Position::new(PARTITION, seq, idx),
        received_at: Timestamp::from_micros(2_000_000),
        sample_rate: 1.0,
    }
}

fn frames(lo: u64, hi: u64) -> Frames {
    Frames {
        range: SeqRange { lo, hi },
        events: (lo..=hi).map(|seq| event(seq, seq, 0)).collect(),
        dead_letters: Vec::new(),
    }
}

fn open(dir: &TempDir) -> (WarmTier, Partition) {
    let tier = WarmTier::open(Options {
        data: dir.path().to_owned(),
        memory_limit: 256 * 1024 * 1024,
        dedupe_memory: 1024,
    })
    .unwrap();
    let partition = tier.partition(PARTITION, 1).unwrap();
    (tier, partition)
}

/// Runs the first `steps` steps of a seal, then drops everything as a crash would.
fn seal_and_crash_after(steps: usize, dir: &TempDir) {
    let (_tier, mut partition) = open(dir);
    partition.append(frames(1, 20)).unwrap();
    let task = partition.start_seal().unwrap();
    let mut seal = Seal::new(&task);
    let rules = RuleSet::default();
    if steps > 0 {
        seal.stage(&rules).unwrap();
    }
    if steps > 1 {
        seal.verify().unwrap();
    }
    if steps > 2 {
        seal.rename().unwrap();
    }
    if steps > 3 {
        seal.publish().unwrap();
    }
}

#[test]
fn a_crash_between_any_two_steps_leaves_every_event_once() {
    for steps in 0..=4 {
        let dir = TempDir::new().unwrap();
        seal_and_crash_after(steps, &dir);

        let (tier, mut partition) = open(&dir);
        let published = steps == 4;
        let next = if published { 21 } else { 1 };
        assert_eq!(partition.next_seq(), next, "after {steps} steps");
        if !published {
            partition.append(frames(1, 20)).unwrap();
        }
        let again = partition.append(Frames {
            range: SeqRange { lo: 21, hi: 22 },
            events: vec![event(7, 21, 0), event(22, 22, 0)],
            dead_letters: Vec::new(),
        });
        assert_eq!(again.unwrap().dropped.len(), 1, "after {steps} steps");
        partition.seal(&RuleSet::default()).unwrap();

        let mut scan = Scan::new(Table::Events, PARTITION, vec![SeqRange { lo: 1, hi: 22 }]);
        scan.order = Order::Asc;
        let batches = tier.scanner().unwrap().collect(&scan).unwrap();
        let rows = batches
            .iter()
            .flat_map(|batch| segment::decode(batch).unwrap());
        let seqs: Vec<_> = rows.map(|row| row.position.seq).collect();
        let expected: Vec<_> = (1..=20).chain([22]).collect();
        assert_eq!(seqs, expected, "after {steps} steps");
        let staged = disk::files(&partition.sealed().dir).unwrap();
        assert!(
            staged.iter().all(|name| !name.contains(layout::STAGED)),
            "{staged:?}"
        );
    }
}

#[test]
fn a_slice_that_differs_from_what_was_written_is_never_published() {
    let dir = TempDir::new().unwrap();
    let (_tier, mut partition) = open(&dir);
    partition.append(frames(1, 20)).unwrap();
    let task = partition.start_seal().unwrap();
    let mut seal = Seal::new(&task);
    seal.stage(&RuleSet::default()).unwrap();
    seal.slices[0].sum_crc ^= 1;

    assert!(matches!(seal.verify(), Err(Error::Damaged { .. })));
}
