//! The watchdog of a running statement: interrupts it at its timeout.

use std::{
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

/// Whether a statement ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchdogOutcome {
    WithinLimits,
    TimedOut,
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
    pub(super) fn start(handle: Arc<InterruptHandle>, timeout: Duration) -> Self {
        let (done, ended) = mpsc::channel();
        let deadline = Instant::now() + timeout;
        let thread = thread::spawn(move || {
            let mut outcome = WatchdogOutcome::WithinLimits;
            while ended.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if Instant::now() >= deadline {
                    outcome = WatchdogOutcome::TimedOut;
                    handle.interrupt();
                }
            }
            outcome
        });
        Self { done, thread }
    }

    /// Stops the thread and returns whether it has interrupted the statement.
    pub(super) fn stop(self) -> WatchdogOutcome {
        drop(self.done);
        self.thread.join().unwrap_or(WatchdogOutcome::TimedOut)
    }
}
