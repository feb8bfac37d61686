//! The memory for requests: rows, batches and answers are reserved in it before or as they are read, and
//! given back when their bytes have left the process.

use std::time::Duration;

use bytes::Bytes;
use event::StoredEvent;
use service_runtime::{MemoryPool, MemoryPressure, PoolExhausted, Reservation};

use crate::error::QueryError;

/// The parts that the memory is divided into.
const MEMORY_PARTS: usize = 16;
/// The least memory for requests: one large page fits into its part.
pub(crate) const MIN_REQUEST_MEMORY: usize = 256 << 20;
/// The longest that a request waits for memory: longer than those that have it wait for a server that hangs,
/// 4 s at most, after which all go on without it.
pub(crate) const MEMORY_WAIT: Duration = Duration::from_secs(6);
/// The longest that a scan waits for more: another statement may be done by then.
pub(crate) const SCAN_MEMORY_WAIT: Duration = Duration::from_secs(5);
/// A page with at most so many bytes, by [`row_bytes`], is small: it never waits for large ones. A thousand
/// short events are one, and any one event.
pub(crate) const SMALL_PAGE_BYTES: usize = MAX_ROW_BYTES;
/// What it takes to find out whether a page is small: its rows, and the one that is too many.
pub(crate) const SMALL_READ_BYTES: usize = SMALL_PAGE_BYTES + MAX_ROW_BYTES;
/// What a tail reads and sends at once, unless one event has more.
pub(crate) const TAIL_PAGE_BYTES: usize = 256 << 10;
/// What it takes to read so much, and a large event behind it that is left to the next time.
pub(crate) const TAIL_READ_BYTES: usize = 1 << 20;
/// The most that one event takes by [`row_bytes`]: 256 KiB of control characters and some fields.
pub(crate) const MAX_ROW_BYTES: usize = 3 << 20;
/// Bytes after which any page ends; bounds the memory of an answer.
pub(crate) const MAX_PAGE_BYTES: usize = MIN_REQUEST_MEMORY / MEMORY_PARTS * 2;
/// What one round trip to the hot tier can bring: 64 entries of 256 KiB.
pub(crate) const HOT_READ_BYTES: usize = 16 << 20;
/// Bytes of a row beside its content and metadata: its fields in memory and in JSON.
const ROW_OVERHEAD_BYTES: usize = 1024;
/// Bytes that JSON writes for a control character, as `\u0001`.
const ESCAPED_CONTROL_BYTES: usize = 6;

/// The memory for requests by their kind, so that none waits for all of another kind.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    /// What is read from the hot tier and not decoded yet; never held while a client reads.
    pub(crate) reads: MemoryPool,
    pub(crate) small_pages: MemoryPool,
    pub(crate) large_pages: MemoryPool,
    pub(crate) tails: MemoryPool,
    /// The rows that statements and rollups collect.
    pub(crate) scans: MemoryPool,
    /// Of what clients hold that do not read: pages and tails.
    pub(crate) pressure: MemoryPressure,
}

impl RequestMemory {
    /// `bytes` of memory, at least [`MIN_REQUEST_MEMORY`].
    pub(crate) fn new(bytes: usize) -> Self {
        let part = bytes.max(MIN_REQUEST_MEMORY) / MEMORY_PARTS;
        let pressure = MemoryPressure::default();
        let of_clients = |bytes| MemoryPool::new(bytes).held_by_clients(&pressure);
        Self {
            reads: MemoryPool::new(2 * part),
            small_pages: of_clients(2 * part),
            large_pages: of_clients(2 * part),
            tails: of_clients(2 * part),
            scans: MemoryPool::new(8 * part),
            pressure,
        }
    }
}

impl From<PoolExhausted> for QueryError {
    fn from(_: PoolExhausted) -> Self {
        let detail = "other requests use all of the memory for answers; retry later, or ask for less: a \
                      smaller limit, or a statement that is narrower by time, conversation or type";
        Self::unavailable("overloaded", detail)
    }
}

/// The bytes of `row` while it is answered, at most: in memory, as a column, and encoded.
pub(crate) fn row_bytes(row: &StoredEvent) -> usize {
    let (content, metadata) = (row.event.content.len(), row.event.metadata.len());
    2 * (content + metadata) + encoded_bytes(row)
}

/// The bytes of `row` in JSON or CSV, at most.
pub(crate) fn encoded_bytes(row: &StoredEvent) -> usize {
    let escaped = |byte: u8| match byte {
        0..0x20 | 0x7f => ESCAPED_CONTROL_BYTES,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    let event = &row.event;
    let content: usize = event.content.bytes().map(escaped).sum();
    let names = event.conversation_id.as_str().len() + event.event_type.as_str().len();
    let ids = [&event.task_id, &event.correlation_id]
        .into_iter()
        .flatten();
    let ids: usize = ids.map(|id| ESCAPED_CONTROL_BYTES * id.len()).sum();
    ROW_OVERHEAD_BYTES + content + event.metadata.len() + names + ids
}

/// Bytes of an answer, whose `memory` is given back when the last of them has left.
pub(crate) fn held(bytes: Vec<u8>, mut memory: Reservation) -> Bytes {
    memory.shrink_to(bytes.capacity());
    Bytes::from_owner(Held {
        bytes,
        _memory: memory,
    })
}

struct Held {
    bytes: Vec<u8>,
    _memory: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use event_proto::json;

    use super::*;
    use crate::merge::tests::row;

    #[test]
    fn a_row_never_takes_more_bytes_than_were_reserved() {
        for content in ["", "plain", "\u{1}\u{1f}\u{7f}", "\"\\\n\t", "äö€"] {
            let mut row = row(1, 0, 1);
            row.event.content = content.repeat(1000);
            let mut out = Vec::new();
            json::write(&row, &mut out);
            assert!(out.len() <= encoded_bytes(&row), "{content:?}");
        }
        let mut largest = row(1, 0, 1);
        largest.event.content = "\u{1}".repeat(event::MAX_EVENT_BYTES);
        assert!(row_bytes(&largest) <= MAX_ROW_BYTES);
        const { assert!(MAX_PAGE_BYTES >= 2 * MAX_ROW_BYTES) };
    }

    #[tokio::test]
    async fn an_answer_gives_its_memory_back_when_its_last_bytes_have_left() {
        let pool = MemoryPool::new(1 << 20);
        let memory = pool.reserve(1 << 20, MEMORY_WAIT).await.unwrap();
        let answer = held(vec![0; 1 << 19], memory);
        let rest = answer.slice(1000..);
        drop(answer);
        let half = pool.reserve(1 << 19, MEMORY_WAIT).await.unwrap();
        tokio::time::pause();
        pool.reserve(1, MEMORY_WAIT).await.unwrap_err();
        drop((rest, half));
        pool.reserve(1 << 20, MEMORY_WAIT).await.unwrap();
    }
}
