//! The memory of the objects that are being read: each is in memory as a whole, and all reads of a process
//! share it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bytes of one permit.
const UNIT_BYTES: u64 = 64 << 10;

/// The kind of a read. Each has half of the memory, so that short ones never wait for long ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadKind {
    /// The first rows in an order.
    Ordered,
    /// All rows, as fast as their reader takes them.
    Stream,
}

/// The memory for objects. Reads wait for it in turn.
#[derive(Debug)]
pub(crate) struct ObjectMemory {
    ordered: Pool,
    streams: Pool,
}

#[derive(Debug)]
struct Pool {
    units: Arc<Semaphore>,
    total: u32,
}

/// The memory of one object.
#[derive(Debug)]
pub(crate) struct Reserved {
    _units: Option<OwnedSemaphorePermit>,
}

impl ObjectMemory {
    /// Memory of `max_bytes` together; `None` is unlimited.
    pub(crate) fn new(max_bytes: Option<u64>) -> Self {
        let half = max_bytes.map_or(u64::MAX, |max| max / 2);
        Self {
            ordered: Pool::new(half),
            streams: Pool::new(half),
        }
    }

    /// Reserves memory for an object of `bytes`; waits its turn. One that is larger than all of the memory is
    /// read alone.
    pub(crate) async fn reserve(&self, kind: ReadKind, bytes: u64) -> Reserved {
        let pool = match kind {
            ReadKind::Ordered => &self.ordered,
            ReadKind::Stream => &self.streams,
        };
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let units = units.clamp(1, pool.total);
        let units = Arc::clone(&pool.units).acquire_many_owned(units).await;
        Reserved {
            _units: units.ok(), // Never closed.
        }
    }
}

impl Pool {
    fn new(bytes: u64) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let total = u32::try_from(bytes / UNIT_BYTES).unwrap_or(most);
        let total = total.clamp(1, most);
        Self {
            units: Arc::new(Semaphore::new(usize::try_from(total).expect("it fits"))),
            total,
        }
    }
}

impl Reserved {
    /// `bytes`, whose memory is free again when the last clone of them is dropped.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held {
            bytes,
            _memory: self,
        })
    }
}

struct Held {
    bytes: Bytes,
    _memory: Reserved,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn objects_take_turns_and_one_that_is_too_large_is_alone() {
        let memory = ObjectMemory::new(Some(20 * UNIT_BYTES));
        let reserve = |kind, units: u64| memory.reserve(kind, units * UNIT_BYTES);
        let first = reserve(ReadKind::Stream, 6).now_or_never().unwrap();
        let second = reserve(ReadKind::Stream, 4).now_or_never().unwrap();
        assert!(reserve(ReadKind::Stream, 1).now_or_never().is_none());
        assert!(reserve(ReadKind::Ordered, 10).now_or_never().is_some());
        let bytes = first.hold(Bytes::from_static(b"rows"));
        let clone = bytes.slice(1..);
        drop((bytes, second));
        let large = reserve(ReadKind::Stream, 1000);
        assert!(large.now_or_never().is_none());
        drop(clone);
        let large = reserve(ReadKind::Stream, 1000).now_or_never();
        assert!(large.is_some() && reserve(ReadKind::Stream, 1).now_or_never().is_none());
    }

    #[tokio::test]
    async fn without_a_limit_nothing_waits() {
        let memory = ObjectMemory::new(None);
        let all: Option<Vec<_>> = (0..64)
            .map(|_| memory.reserve(ReadKind::Stream, 1 << 30).now_or_never())
            .collect();
        assert!(all.is_some());
    }
}
