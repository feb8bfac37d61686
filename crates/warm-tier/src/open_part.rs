//! The open part: what was read from the log and is not sealed yet, in memory. The log has it, and a
//! restart reads it from there again.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use arrow::record_batch::RecordBatch;
use event::{PartitionId, Position, Seq, SeqRange, StoredEvent, Timestamp};

use crate::{
    duplicates::Duplicate,
    frames::Frames,
    log_end::LogAnchor,
    open_files::{OpenRun, OpenRuns},
    open_rollups::{Counted, OpenRollups},
};

/// Events, and bytes of their texts, that become one Arrow batch: the columns of a batch cost as much as
/// tens of events.
const BATCH_EVENTS: usize = 4096;
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// Memory of an event that is not in a batch yet, beside its texts, and of the id that deduplication
/// keeps of each event of an open part. Measured, rounded up.
const EVENT_BYTES: u64 = 512;
const ID_BYTES: u64 = 64;

/// Totals over an open part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenTotals {
    pub events: u64,
    pub sum_crc: u64,
    pub dead_letters: u64,
    pub received_min: Option<Timestamp>,
    pub received_max: Option<Timestamp>,
}

/// The deduplicated events of consecutive frames, in log order.
#[derive(Debug)]
pub(crate) struct OpenPart {
    partition: PartitionId,
    lo: Seq,
    /// The sequence that the next frames must start with.
    next: Seq,
    totals: OpenTotals,
    batches: Vec<RecordBatch>,
    batch_bytes: u64,
    /// Events that are in no batch yet.
    pending: Vec<StoredEvent>,
    pending_bytes: u64,
    /// These as a batch, since a reader has asked for them.
    pending_batch: Option<RecordBatch>,
    rollups: OpenRollups,
    dropped: Vec<Duplicate>,
    dropped_bytes: u64,
    last_event: Option<LogAnchor>,
    runs: Mutex<OpenRuns>,
}

impl OpenPart {
    /// An empty part that starts at `lo`.
    pub(crate) fn new(partition: PartitionId, lo: Seq) -> Self {
        Self {
            partition,
            lo,
            next: lo,
            totals: OpenTotals::default(),
            batches: Vec::new(),
            batch_bytes: 0,
            pending: Vec::new(),
            pending_bytes: 0,
            pending_batch: None,
            rollups: OpenRollups::default(),
            dropped: Vec::new(),
            dropped_bytes: 0,
            last_event: None,
            runs: Mutex::default(),
        }
    }

    /// Appends frames that continue the part: `frames.events` without the duplicates `dropped`.
    pub(crate) fn append(&mut self, frames: Frames, dropped: &[Duplicate]) {
        self.next = frames.range.hi + 1;
        let totals = &mut self.totals;
        totals.events += frames.events.len() as u64;
        totals.dead_letters += frames.dead_letters.len() as u64;
        self.dropped_bytes += dropped.iter().map(Duplicate::memory_bytes).sum::<u64>();
        self.dropped.extend_from_slice(dropped);
        for event in frames.events {
            self.push(event);
        }
    }

    fn push(&mut self, event: StoredEvent) {
        let totals = &mut self.totals;
        totals.sum_crc += u64::from(event.crc32c);
        let received_at = Some(event.received_at);
        totals.received_min = totals.received_min.or(received_at).min(received_at);
        totals.received_max = totals.received_max.max(received_at);
        self.last_event = Some(LogAnchor::of(&event));
        self.rollups.add(&Counted::from(&event));
        self.pending_batch = None;
        self.pending_bytes += EVENT_BYTES + text_bytes(&event);
        self.pending.push(event);
        if self.pending.len() >= BATCH_EVENTS || self.pending_bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let encoded = self.pending_batch.take();
        let batch = encoded.unwrap_or_else(|| segment::encode(&self.pending));
        self.pending.clear();
        self.pending_bytes = 0;
        self.batch_bytes += segment::memory_bytes(&batch);
        self.batches.push(batch);
    }

    /// Ends the part: all of its events are in batches then.
    pub(crate) fn freeze(mut self) -> Self {
        self.flush();
        self
    }

    /// The events in batches of [`segment::events_schema`], in log order.
    pub(crate) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// The events in batches, also those that are in none yet.
    pub(crate) fn all_batches(&mut self) -> Vec<RecordBatch> {
        let mut batches = self.batches.clone();
        if !self.pending.is_empty() {
            let pending = &self.pending;
            let batch = self
                .pending_batch
                .get_or_insert_with(|| segment::encode(pending));
            batches.push(batch.clone());
        }
        batches
    }

    /// The runs of its batches, for readers beside the files in `data`, and the number of the batches that they have.
    pub(crate) fn runs(&self, data: &Path) -> (Vec<Arc<OpenRun>>, usize) {
        let runs = self.runs.lock();
        let mut runs = runs.expect("nothing panics while it holds this");
        runs.of(data, &self.batches)
    }

    pub(crate) fn rollups(&self) -> &OpenRollups {
        &self.rollups
    }

    pub(crate) fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The sequence that the next frames must start with.
    pub(crate) fn next(&self) -> Seq {
        self.next
    }

    /// The range of the log that the part covers; `None` before its first frame.
    pub(crate) fn range(&self) -> Option<SeqRange> {
        SeqRange::new(self.lo, self.next - 1)
    }

    pub(crate) fn totals(&self) -> OpenTotals {
        self.totals
    }

    /// The duplicates that were dropped, ascending by position.
    pub(crate) fn dropped(&self) -> &[Duplicate] {
        &self.dropped
    }

    pub(crate) fn last_event(&self) -> Option<LogAnchor> {
        self.last_event
    }

    /// Bytes of memory of the part, with the ids that deduplication keeps of it.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let pending = match self.pending_batch {
            Some(_) => 2 * self.pending_bytes,
            None => self.pending_bytes,
        };
        let ids = self.totals.events * ID_BYTES;
        self.batch_bytes + pending + self.rollups.memory_bytes() + self.dropped_bytes + ids
    }
}

impl LogAnchor {
    fn of(event: &StoredEvent) -> Self {
        let Position {
            partition,
            seq,
            idx,
        } = event.position;
        Self {
            position: Position::new(partition, seq, idx),
            crc32c: event.crc32c,
        }
    }
}

/// Bytes of the texts of `event`, as far as they have no bound that is small.
fn text_bytes(event: &StoredEvent) -> u64 {
    let event = &event.event;
    (event.content.len() + event.metadata.len() + event.conversation_id.as_str().len()) as u64
}
