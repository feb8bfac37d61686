//! The watchdog of a running statement: interrupts it at its timeout, or when the process grows by
//! more than the statement may use (DuckDB does not count every string that it allocates).

use std::{
    fs,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use duckdb::InterruptHandle;

/// Time between two checks, and between two interrupts: one that arrives between two statements has no
/// effect.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Bytes by which the process may grow beyond twice the memory that DuckDB counts. Other requests of
/// the process are included, so the value is generous; it has no other reason.
const UNCOUNTED_BYTES: u64 = 1 << 30;

/// The limit that a statement exceeded, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchdogOutcome {
    WithinLimits,
    TimedOut,
    MemoryExceeded,
}

/// A thread that watches one statement.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// Dropped when the statement has ended.
    done: Sender<()>,
    thread: JoinHandle<WatchdogOutcome>,
}

impl Watchdog {
    /// Starts to watch the statement that `handle` interrupts.
    pub(super) fn start(
        handle: Arc<InterruptHandle>,
        timeout: Duration,
        memory_bytes: u64,
    ) -> Self {
        let (done, ended) = mpsc::channel();
        let deadline = Instant::now() + timeout;
        let max_resident = resident_bytes().map(|now| now + 2 * memory_bytes + UNCOUNTED_BYTES);
        let thread = thread::spawn(move || {
            let mut outcome = WatchdogOutcome::WithinLimits;
            while ended.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if Instant::now() >= deadline {
                    outcome = WatchdogOutcome::TimedOut;
                } else if resident_bytes() > max_resident.or(Some(u64::MAX)) {
                    outcome = WatchdogOutcome::MemoryExceeded;
                }
                if outcome != WatchdogOutcome::WithinLimits {
                    handle.interrupt();
                }
            }
            outcome
        });
        Self { done, thread }
    }

    /// Stops the thread and returns the limit that it found exceeded.
    pub(super) fn stop(self) -> WatchdogOutcome {
        drop(self.done);
        self.thread.join().unwrap_or(WatchdogOutcome::TimedOut)
    }
}

/// The resident memory of this process; `None` where `/proc` does not exist.
fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}
