//! How fast a client takes its answers: one that takes too little is cut off. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// The longest that answers may wait for a client which takes less than [`MIN_BYTES`] meanwhile; then the connection
/// ends, and with it what the answer holds. A client on a bad network is back within it.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(30);
/// 70 kbit/s: a slow mobile network takes more.
const MIN_BYTES: usize = 256 * 1024;

/// What a client has taken, and for how long something waited for it. Time in which nothing waits does not
/// count: a tail may be silent for hours.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    taken: usize,
    waiting_since: Option<Instant>,
}

impl Pace {
    /// A write waits for the client at `now`. Returns when it has waited for too long.
    pub(super) fn waits(&mut self, now: Instant) -> Instant {
        let since = *self.waiting_since.get_or_insert(now);
        since + MAX_WAIT.saturating_sub(self.waited)
    }

    /// The client has taken `bytes` by `now`.
    pub(super) fn takes(&mut self, bytes: usize, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now - since;
        }
        self.taken += bytes;
        if self.taken >= MIN_BYTES {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a client that takes `bytes` every `seconds` is cut off; `None` if it is not within an hour.
    fn cut_off_after(bytes: usize, seconds: u64) -> Option<Duration> {
        let (mut pace, began) = (Pace::default(), Instant::now());
        let mut now = began;
        while now - began < Duration::from_secs(3600) {
            let end = pace.waits(now);
            now += Duration::from_secs(seconds);
            if now >= end {
                return Some(end - began);
            }
            pace.takes(bytes, now);
        }
        None
    }

    #[test]
    fn a_client_must_take_a_least_number_of_bytes_while_an_answer_waits() {
        assert_eq!(cut_off_after(0, 1), Some(MAX_WAIT));
        assert_eq!(cut_off_after(1, 29), Some(MAX_WAIT));
        assert_eq!(cut_off_after(MIN_BYTES / 2, 29), Some(MAX_WAIT));
        assert_eq!(cut_off_after(MIN_BYTES / 2, 14), None);
        assert_eq!(cut_off_after(MIN_BYTES, 29), None);
    }

    #[test]
    fn silence_does_not_count() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..25 {
            assert!(pace.waits(now) > now + Duration::from_secs(1));
            now += Duration::from_secs(1);
            pace.takes(100, now);
            now += Duration::from_secs(3600);
        }
    }
}
