//! A guard beside a running statement: interrupts it when its time is over or when the process
//! grows by more than the statement may use (DuckDB does not count every string it makes).

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

/// How often it looks. Also how often it interrupts: an interrupt between two statements is lost.
const INTERVAL: Duration = Duration::from_millis(10);

/// What the process may grow by beside what DuckDB counts; its other requests are in it too.
const UNCOUNTED_BYTES: u64 = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    InBounds,
    Late,
    Fat,
}

#[derive(Debug)]
pub(super) struct Guard {
    done: Sender<()>,
    thread: JoinHandle<Verdict>,
}

impl Guard {
    pub(super) fn start(
        handle: Arc<InterruptHandle>,
        timeout: Duration,
        memory_bytes: u64,
    ) -> Self {
        let (done, ended) = mpsc::channel();
        let deadline = Instant::now() + timeout;
        let most = resident_bytes().map(|now| now + 2 * memory_bytes + UNCOUNTED_BYTES);
        let thread = thread::spawn(move || {
            let mut verdict = Verdict::InBounds;
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if Instant::now() >= deadline {
                    verdict = Verdict::Late;
                } else if resident_bytes() > most.or(Some(u64::MAX)) {
                    verdict = Verdict::Fat;
                }
                if verdict != Verdict::InBounds {
                    handle.interrupt();
                }
            }
            verdict
        });
        Self { done, thread }
    }

    pub(super) fn stop(self) -> Verdict {
        drop(self.done);
        self.thread.join().unwrap_or(Verdict::Late)
    }
}

/// Of this process; `None` where the kernel does not say.
fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}
