//! The bytes that a scan may read, and what its attempts have taken of them.

use std::sync::atomic::{AtomicU64, Ordering};

use arrow::record_batch::RecordBatch;
use service_runtime::{MemoryPool, Reservation};

use crate::{
    error::{QueryError, Result},
    memory::SCAN_MEMORY_WAIT,
};

/// Bytes of columns that a statement may still read.
#[derive(Debug)]
pub(crate) struct Budget {
    max: u64,
    remaining: AtomicU64,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            max,
            remaining: AtomicU64::new(max),
        }
    }

    fn take(&self, bytes: u64) -> Result<()> {
        let subtract = |remaining: u64| remaining.checked_sub(bytes);
        let taken = self
            .remaining
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
        taken
            .map(drop)
            .map_err(|_| QueryError::scan_too_large(self.max))
    }
}

/// What one attempt has taken of the statement's budget and of the memory for scans. It gives all back when
/// it is dropped, so that an attempt that is repeated counts once.
#[derive(Debug)]
pub(super) struct Charge<'a> {
    budget: &'a Budget,
    taken: u64,
    bytes: usize,
    pool_bytes: usize,
    memory: Reservation,
}

impl<'a> Charge<'a> {
    pub(super) fn new(budget: &'a Budget, pool: &MemoryPool) -> Self {
        Self {
            budget,
            taken: 0,
            bytes: 0,
            pool_bytes: pool.bytes(),
            memory: pool.empty(),
        }
    }

    /// Counts `bytes` that are read elsewhere.
    ///
    /// # Errors
    ///
    /// `scan_too_large` when the statement may not read so many.
    pub(super) fn count(&mut self, bytes: u64) -> Result<()> {
        self.budget.take(bytes)?;
        self.taken = self.taken.saturating_add(bytes);
        Ok(())
    }

    /// Takes `bytes` and their memory.
    ///
    /// # Errors
    ///
    /// `scan_too_large` when the statement may not read so many, or no statement may hold so many; `overloaded`
    /// when other statements have the memory.
    pub(super) async fn add(&mut self, bytes: usize) -> Result<()> {
        self.count(u64::try_from(bytes).unwrap_or(u64::MAX))?;
        self.bytes += bytes;
        if self.bytes > self.pool_bytes {
            let most = u64::try_from(self.pool_bytes).unwrap_or(u64::MAX);
            return Err(QueryError::scan_too_large(most));
        }
        Ok(self.memory.grow_to(self.bytes, SCAN_MEMORY_WAIT).await?)
    }

    /// Takes the bytes of `batch`.
    ///
    /// # Errors
    ///
    /// As [`Charge::add`].
    pub(super) async fn add_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let bytes = segment::memory_bytes(batch);
        self.add(usize::try_from(bytes).unwrap_or(usize::MAX)).await
    }

    /// Keeps what was taken: the attempt has succeeded. Returns the memory.
    pub(super) fn keep(mut self, pool: &MemoryPool) -> Reservation {
        self.taken = 0;
        std::mem::replace(&mut self.memory, pool.empty())
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        self.budget
            .remaining
            .fetch_add(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_repeated_is_charged_once() {
        let (budget, pool) = (Budget::new(10_000), MemoryPool::new(16 << 10));
        for _ in 0..3 {
            let mut attempt = Charge::new(&budget, &pool);
            attempt.add(8_000).await.unwrap();
        }
        let mut last = Charge::new(&budget, &pool);
        last.add(8_000).await.unwrap();
        let memory = last.keep(&pool);
        let mut other = Charge::new(&budget, &pool);
        let refused = other.add(8_000).await.unwrap_err();
        assert!(matches!(refused, QueryError::Refused { .. }), "{refused:?}");
        let unlimited = Budget::new(u64::MAX);
        let mut other = Charge::new(&unlimited, &pool);
        let refused = other.add(12_000).await.unwrap_err();
        assert!(
            matches!(refused, QueryError::Unavailable { .. }),
            "{refused:?}"
        );
        drop(memory);
        other.add(1).await.unwrap();
    }
}
