//! The last reading of the log's clock.

use std::{sync::Mutex, time::Duration};

use event::Timestamp;
use tokio::time::Instant;

/// A reading of the log's clock is used for so long, and then read again: a server whose clock was
/// corrected is believed within that time.
const CLOCK_READ_INTERVAL: Duration = Duration::from_secs(10);

/// The last reading of the log's clock.
#[derive(Debug, Default)]
pub(crate) struct LogClock(Mutex<Option<ClockReading>>);

/// A time of the log's clock, and when it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockReading {
    pub(crate) time: Timestamp,
    pub(crate) at: Instant,
    /// When somebody last tried to read it again. While the log does not answer, the others do not wait.
    pub(crate) tried_at: Instant,
}

impl LogClock {
    /// Returns the last reading, and whether the caller shall read the clock again.
    pub(crate) fn reading(&self) -> (Option<ClockReading>, bool) {
        let mut reading = self
            .0
            .lock()
            .expect("nothing panics while it holds the lock");
        let Some(known) = &mut *reading else {
            return (None, true);
        };
        let is_due = known.tried_at.elapsed() >= CLOCK_READ_INTERVAL;
        if is_due {
            known.tried_at = Instant::now();
        }
        (Some(*known), is_due)
    }

    pub(crate) fn set(&self, reading: ClockReading) {
        *self
            .0
            .lock()
            .expect("nothing panics while it holds the lock") = Some(reading);
    }
}
