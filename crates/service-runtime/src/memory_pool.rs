//! Memory that requests share: bytes are reserved before they are taken, and given back when they are no
//! longer used.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The bytes of one permit of the semaphore behind a [`MemoryPool`].
const UNIT_BYTES: usize = 4096;

/// There is pressure when a request has waited for so long; shorter waits are normal.
const PRESSURE_AFTER: Duration = Duration::from_millis(100);

/// Whether a request waits for memory which clients hold that are slow to send or to take their bytes. Clones
/// share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryPressure(Arc<AtomicUsize>);

impl MemoryPressure {
    pub(crate) fn is_now(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// There is pressure until the guard is dropped.
    fn begin(&self) -> PressureGuard<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        PressureGuard(self)
    }
}

struct PressureGuard<'a>(&'a MemoryPressure);

impl Drop for PressureGuard<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A number of bytes that reservations are taken from, in turn. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryPool {
    units: Arc<Semaphore>,
    total: usize,
    pressure: Option<MemoryPressure>,
}

/// Nothing was free in time, or the pool is smaller than what was asked for.
#[derive(Debug)]
pub struct PoolExhausted;

impl fmt::Display for PoolExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the memory for requests is in use")
    }
}

impl std::error::Error for PoolExhausted {}

impl MemoryPool {
    /// A pool of `bytes`, rounded down to 4 KiB.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let total = (bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(total)),
            total,
            pressure: None,
        }
    }

    /// The same pool for what is free again when a client has sent or taken its bytes: it is under `pressure` while
    /// a request waits for it.
    #[must_use]
    pub fn held_by_clients(mut self, pressure: &MemoryPressure) -> Self {
        self.pressure = Some(pressure.clone());
        self
    }

    /// The bytes of the whole pool.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.total * UNIT_BYTES
    }

    /// A reservation of no bytes, which can grow.
    #[must_use]
    pub fn empty(&self) -> Reservation {
        Reservation {
            pool: self.clone(),
            permit: None,
        }
    }

    /// Reserves `bytes`; waits its turn, at most for `wait`.
    ///
    /// # Errors
    /// [`PoolExhausted`] when they are not free in time.
    pub async fn reserve(
        &self,
        bytes: usize,
        wait: Duration,
    ) -> Result<Reservation, PoolExhausted> {
        let mut reservation = self.empty();
        reservation.grow_to(bytes, wait).await?;
        Ok(reservation)
    }

    /// Takes `units`; `None` when they are not free in time.
    async fn acquire(&self, units: u32, wait: Duration) -> Option<OwnedSemaphorePermit> {
        let mut acquired = pin!(Arc::clone(&self.units).acquire_many_owned(units));
        let first_wait = wait.min(PRESSURE_AFTER);
        if let Ok(acquired) = timeout(first_wait, acquired.as_mut()).await {
            return acquired.ok();
        }
        if first_wait == wait {
            return None;
        }
        let _pressure = self.pressure.as_ref().map(MemoryPressure::begin);
        timeout(wait - first_wait, acquired).await.ok()?.ok()
    }
}

/// Reserved bytes of a [`MemoryPool`], free again when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    pool: MemoryPool,
    permit: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    /// The reserved bytes, rounded up to 4 KiB.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.units() * UNIT_BYTES
    }

    /// Whether its bytes are those of `pool`.
    #[must_use]
    pub fn is_of(&self, pool: &MemoryPool) -> bool {
        Arc::ptr_eq(&self.pool.units, &pool.units)
    }

    /// Extends the reservation to `bytes`, if it has fewer; waits its turn, at most for `wait`.
    ///
    /// # Errors
    /// [`PoolExhausted`] when they are not free in time; the reservation is as before.
    pub async fn grow_to(&mut self, bytes: usize, wait: Duration) -> Result<(), PoolExhausted> {
        let units = bytes.div_ceil(UNIT_BYTES);
        let missing = units.saturating_sub(self.units());
        if missing == 0 {
            return Ok(());
        }
        if units > self.pool.total {
            return Err(PoolExhausted);
        }
        let missing = u32::try_from(missing).map_err(|_| PoolExhausted)?;
        let acquired = self.pool.acquire(missing, wait).await;
        self.add(acquired.ok_or(PoolExhausted)?);
        Ok(())
    }

    /// Gives back what is reserved beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let unused = self.units().saturating_sub(bytes.div_ceil(UNIT_BYTES));
        drop(self.permit.as_mut().and_then(|permit| permit.split(unused)));
    }

    /// Adds the bytes of `other`, a reservation of the same pool.
    pub fn merge(&mut self, mut other: Self) {
        debug_assert!(self.is_of(&other.pool));
        if let Some(permit) = other.permit.take() {
            self.add(permit);
        }
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
    }

    fn units(&self) -> usize {
        self.permit
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_reserved_is_free_again_when_it_shrinks_or_ends() {
        let pool = MemoryPool::new(10 * UNIT_BYTES);
        let mut first = pool.reserve(8 * UNIT_BYTES, WAIT).await.unwrap();
        pool.reserve(3 * UNIT_BYTES, WAIT).await.unwrap_err();
        first.shrink_to(5 * UNIT_BYTES - 1);
        assert_eq!(first.bytes(), 5 * UNIT_BYTES);
        let mut second = pool.reserve(3 * UNIT_BYTES, WAIT).await.unwrap();
        second.grow_to(6 * UNIT_BYTES, WAIT).await.unwrap_err();
        assert_eq!(second.bytes(), 3 * UNIT_BYTES);
        drop(first);
        second.grow_to(10 * UNIT_BYTES, WAIT).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn merged_reservations_are_one_and_more_than_the_pool_is_refused_at_once() {
        let pool = MemoryPool::new(4 * UNIT_BYTES);
        let mut whole = pool.reserve(1, WAIT).await.unwrap();
        whole.merge(pool.reserve(2 * UNIT_BYTES, WAIT).await.unwrap());
        assert_eq!(whole.bytes(), 3 * UNIT_BYTES);
        whole.merge(pool.empty());
        drop(whole);
        let asked_at = tokio::time::Instant::now();
        pool.reserve(pool.bytes() + 1, WAIT).await.unwrap_err();
        assert_eq!(asked_at.elapsed(), Duration::ZERO);
        pool.reserve(pool.bytes(), WAIT).await.unwrap();
    }
}
