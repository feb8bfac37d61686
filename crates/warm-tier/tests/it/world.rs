//! A data folder and events to put into it.

use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionId, Position, SeqRange,
    StoredEvent, TenantId, Timestamp,
};
use event_proto::EncodedEvent;
use tempfile::TempDir;
use warm_tier::{Frames, Options, Partition, WarmTier};

pub(crate) const PARTITION: PartitionId = PartitionId::first(3);
/// Time of the first event in microseconds.
pub(crate) const START: i64 = 1_795_000_000_000_000;

pub(crate) struct World {
    dir: TempDir,
    memory: u64,
    pub(crate) tier: WarmTier,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_memory(512 * 1024 * 1024)
    }

    /// With `memory` bytes for DuckDB.
    pub(crate) fn with_memory(memory: u64) -> Self {
        let dir = TempDir::new().unwrap();
        let tier = WarmTier::open(options(&dir, memory)).unwrap();
        Self { dir, memory, tier }
    }

    /// The same folder after the process died.
    pub(crate) fn restarted(self) -> Self {
        let Self { dir, memory, tier } = self;
        drop(tier);
        let tier = WarmTier::open(options(&dir, memory)).unwrap();
        Self { dir, memory, tier }
    }

    pub(crate) fn options(&self) -> Options {
        options(&self.dir, self.memory)
    }

    pub(crate) fn partition(&self) -> Partition {
        self.tier.partition(PARTITION, 1).unwrap()
    }

    pub(crate) fn partition_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("g1/p03/e1")
    }
}

fn options(dir: &TempDir, memory_limit: u64) -> Options {
    Options {
        data: dir.path().to_owned(),
        memory_limit,
        dedupe_memory: 1024 * 1024,
    }
}

/// Event `number`: ten conversations take turns, three types, content of its own.
pub(crate) fn event(number: u64, seq: u64, idx: u16) -> StoredEvent {
    let types = ["output.chunk", "tool.call", "error.timeout"];
    let event = Event {
        event_id: EventId::from_u128(
            0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number),
        ),
        tenant: TenantId::default_tenant(),
        conversation_id: ConversationId::new(&format!("conversation-{}", number % 10)).unwrap(),
        task_id: number.is_multiple_of(2).then(|| format!("task-{number}")),
        event_type: EventType::new(types[usize::try_from(number % 3).unwrap()]).unwrap(),
        timestamp: Timestamp::from_micros(START + i64::try_from(number).unwrap() * 60_000_000),
        content: format!("chunk {number} \u{0}\u{1F680} 'quoted' ") + &"lorem ipsum ".repeat(20),
        content_encoding: ContentEncoding::Utf8,
        metadata: if number.is_multiple_of(5) {
            String::new()
        } else {
            format!("{{\"n\":{number}}}")
        },
        correlation_id: None,
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
        span_id: None,
    };
    let crc32c = EncodedEvent::encode(&event).crc32c;
    StoredEvent {
        event,
        position: Position::new(PARTITION, seq, idx),
        received_at: Timestamp::from_micros(START + i64::try_from(seq).unwrap() * 1_000_000),
        crc32c,
        sample_rate: 1.0,
    }
}

/// The same, with 250,000 bytes of content that no compression makes much smaller.
pub(crate) fn large_event(number: u64, seq: u64) -> StoredEvent {
    let mut stored = event(number, seq, 0);
    let mut state = number | 1;
    let digits = (0..15_625).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    });
    stored.event.content = digits.collect();
    stored.crc32c = EncodedEvent::encode(&stored.event).crc32c;
    stored
}

pub(crate) const PER_FRAME: u64 = 10;

/// The events of frames `lo..=hi`, ten a frame, numbered through.
pub(crate) fn events(lo: u64, hi: u64) -> Vec<StoredEvent> {
    (lo..=hi)
        .flat_map(|seq| {
            (0..PER_FRAME)
                .map(move |idx| event(seq * PER_FRAME + idx, seq, u16::try_from(idx).unwrap()))
        })
        .collect()
}

pub(crate) fn frames(lo: u64, hi: u64) -> Frames {
    frames_of(lo, hi, events(lo, hi))
}

pub(crate) fn frames_of(lo: u64, hi: u64, events: Vec<StoredEvent>) -> Frames {
    Frames {
        range: SeqRange { lo, hi },
        events,
        dead_letters: Vec::new(),
    }
}

/// `count` ranges of ten frames, each sealed.
pub(crate) fn sealed_ranges(partition: &mut Partition, count: u64, rules: &retention::RuleSet) {
    for range in 0..count {
        let lo = partition.next_seq();
        assert_eq!(lo, range * 10 + 1);
        partition.append(frames(lo, lo + 9)).unwrap();
        partition.seal(rules).unwrap().unwrap();
    }
}
