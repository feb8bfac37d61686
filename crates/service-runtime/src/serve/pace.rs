//! How fast a client sends or takes the bytes of a body: one that is too slow is cut off, the sooner when
//! others wait for memory.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::memory_pool::MemoryPressure;

/// The longest that something may wait for a client which moves less than [`MIN_BYTES`] meanwhile; then its body
/// ends, and with it what it holds. A client on a bad network is back within it.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(30);
/// The same while others wait for memory: 2 Mbit/s. A request that waits for memory waits longer.
const MAX_WAIT_UNDER_PRESSURE: Duration = Duration::from_millis(250);
/// 17 kbit/s: a slow mobile network moves more.
const MIN_BYTES: usize = 64 * 1024;
/// How often it is looked whether there is memory pressure, while something waits for a client.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// What a client has moved, and for how long something waited for it. Time in which nothing waits does not
/// count: a tail may be silent for hours.
#[derive(Debug)]
pub struct Pace {
    pressure: MemoryPressure,
    waited: Duration,
    moved: usize,
    waiting_since: Option<Instant>,
}

impl Pace {
    /// The pace of a client that has not moved anything; it is cut off sooner under memory `pressure`.
    #[must_use]
    pub fn new(pressure: MemoryPressure) -> Self {
        Self {
            pressure,
            waited: Duration::ZERO,
            moved: 0,
            waiting_since: None,
        }
    }

    /// Waits for `moved`, which the client makes ready; `None` if it is too slow. Pass what it moved
    /// to [`Pace::moves`].
    pub async fn wait<T>(&mut self, moved: impl Future<Output = T>) -> Option<T> {
        let mut moved = pin!(moved);
        loop {
            let check = self.next_check(Instant::now())?;
            if let Ok(moved) = timeout_at(check, moved.as_mut()).await {
                return Some(moved);
            }
        }
    }

    /// The client has moved `bytes`.
    pub fn moves(&mut self, bytes: usize) {
        self.moves_at(bytes, Instant::now());
    }

    /// Something waits for the client at `now`. Returns when it is to be asked again, `None` if it has waited
    /// for too long.
    pub(super) fn next_check(&mut self, now: Instant) -> Option<Instant> {
        let end = self.end(now, self.pressure.is_now());
        (now < end).then(|| end.min(now + CHECK_INTERVAL))
    }

    fn end(&mut self, now: Instant, under_pressure: bool) -> Instant {
        let since = *self.waiting_since.get_or_insert(now);
        let max = match under_pressure {
            true => MAX_WAIT_UNDER_PRESSURE,
            false => MAX_WAIT,
        };
        since + max.saturating_sub(self.waited)
    }

    fn moves_at(&mut self, bytes: usize, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now - since;
        }
        self.moved += bytes;
        if self.moved >= MIN_BYTES {
            (self.waited, self.moved) = (Duration::ZERO, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_pool::MemoryPool;

    /// When a client that moves `bytes` every `millis` is cut off; `None` if it is not within an hour.
    fn cut_off_after(bytes: usize, millis: u64, under_pressure: bool) -> Option<Duration> {
        let (mut pace, began) = (Pace::new(MemoryPressure::default()), Instant::now());
        let mut now = began;
        while now - began < Duration::from_secs(3600) {
            let end = pace.end(now, under_pressure);
            now += Duration::from_millis(millis);
            if now >= end {
                return Some(end - began);
            }
            pace.moves_at(bytes, now);
        }
        None
    }

    #[test]
    fn a_client_must_move_a_least_number_of_bytes_while_something_waits() {
        let cut_off_after = |bytes, millis| cut_off_after(bytes, millis, false);
        assert_eq!(cut_off_after(0, 1000), Some(MAX_WAIT));
        assert_eq!(cut_off_after(1, 29_000), Some(MAX_WAIT));
        assert_eq!(cut_off_after(MIN_BYTES / 2, 29_000), Some(MAX_WAIT));
        assert_eq!(cut_off_after(MIN_BYTES / 2, 14_000), None);
        assert_eq!(cut_off_after(MIN_BYTES, 29_000), None);
    }

    #[test]
    fn it_must_move_them_sooner_while_others_wait_for_memory() {
        let cut_off_after = |bytes, millis| cut_off_after(bytes, millis, true);
        assert_eq!(cut_off_after(0, 50), Some(MAX_WAIT_UNDER_PRESSURE));
        assert_eq!(
            cut_off_after(MIN_BYTES / 8, 50),
            Some(MAX_WAIT_UNDER_PRESSURE)
        );
        assert_eq!(cut_off_after(MIN_BYTES / 4, 50), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_waited_for_long_is_cut_off_soon_after_memory_comes_under_pressure() {
        let pressure = MemoryPressure::default();
        let pool = MemoryPool::new(4096).held_by_clients(&pressure);
        let mut pace = Pace::new(pressure);
        let _held = pool.reserve(4096, MAX_WAIT).await.unwrap();
        let (began, another) = (Instant::now(), async {
            tokio::time::sleep(MAX_WAIT / 2).await;
            pool.reserve(4096, MAX_WAIT).await
        });
        tokio::select! {
            cut_off = pace.wait(std::future::pending::<()>()) => assert!(cut_off.is_none()),
            another = another => panic!("{another:?}"),
        }
        assert!(began.elapsed() >= MAX_WAIT / 2);
        assert!(began.elapsed() < MAX_WAIT / 2 + 3 * CHECK_INTERVAL);
    }

    #[test]
    fn silence_does_not_count() {
        let (mut pace, mut now) = (Pace::new(MemoryPressure::default()), Instant::now());
        for _ in 0..25 {
            assert!(pace.end(now, false) > now + Duration::from_secs(1));
            now += Duration::from_secs(1);
            pace.moves_at(100, now);
            now += Duration::from_secs(3600);
        }
    }
}
