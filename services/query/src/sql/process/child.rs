//! What the process of a statement does.

use std::{
    env, fs, io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    sys::{
        prctl,
        resource::Resource,
        signal::{Signal, kill},
    },
    unistd::getpid,
};
use warm_tier::sql::{Limits, Received};

use super::{
    lock_check::{self, LOCK_CHECK_ARGUMENT},
    locks::{self, Lock},
};
use crate::format;

/// First argument of this program when it is to run one statement. The service's process id follows, and
/// [`arguments`].
pub(super) const STATEMENT_ARGUMENT: &str = "__statement";
/// Bytes that a statement's process may use beside twice what DuckDB counts; DuckDB does not count
/// everything that it allocates.
const UNCOUNTED_BYTES: u64 = 1 << 30;
/// Time after a statement's timeout at which its process kills itself, if the service has not.
const SELF_KILL_GRACE: Duration = Duration::from_secs(1);

/// What this process does instead of the service, when it was started for a statement.
pub(crate) fn entry() -> Option<fn() -> ExitCode> {
    let first = env::args_os().nth(1)?;
    match first.to_str()? {
        STATEMENT_ARGUMENT => Some(serve_statement),
        LOCK_CHECK_ARGUMENT => Some(lock_check::serve),
        _ => None,
    }
}

/// The limits that the kernel enforces: bytes of memory and seconds of all its threads together.
pub(super) fn arguments(limits: Limits) -> [String; 2] {
    let bytes = limits.memory_bytes.saturating_mul(2) + UNCOUNTED_BYTES;
    let seconds = (limits.timeout + SELF_KILL_GRACE).as_secs() + 1;
    // Beside DuckDB's threads, the one that encodes and sends the answer.
    let seconds = seconds.saturating_mul(u64::from(limits.threads) + 1);
    [bytes.to_string(), seconds.to_string()]
}

/// Reads a statement from stdin, runs it, and writes its answer to stdout.
fn serve_statement() -> ExitCode {
    match close_up().and_then(|()| answer()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Ties the process to its service, and gives up all that a statement does not need.
fn close_up() -> anyhow::Result<()> {
    let [service, bytes, seconds] = [2, 3, 4].map(|index| env::args().nth(index));
    let service = service.context("the service's id is missing")?;
    service_runtime::die_with(service.parse().context("the service's id")?)?;
    prctl::set_no_new_privs().context("give up privileges")?;
    // The kernel kills this process first when the machine runs out of memory.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    for (resource, value) in [
        (Resource::RLIMIT_DATA, bytes),
        (Resource::RLIMIT_CPU, seconds),
    ] {
        let value = value.context("a limit is missing")?;
        locks::limit(resource, value.parse().context("a limit")?)?;
    }
    for lock in Lock::ALL {
        // The service has said at its start which of them this kernel has.
        let _ = lock.apply();
    }
    Ok(())
}

fn answer() -> anyhow::Result<()> {
    let received = Received::read(io::stdin().lock(), io::stdout().lock())?;
    let limits = received.limits();
    let executing = Arc::new(AtomicBool::new(true));
    let timer = Arc::clone(&executing);
    thread::spawn(move || {
        thread::sleep(limits.timeout + SELF_KILL_GRACE);
        // While its answer is sent, the service watches over it.
        if timer.load(Ordering::Acquire) {
            let _ = kill(getpid(), Signal::SIGKILL);
        }
    });
    let executed = received.execute(&format::encode)?;
    executing.store(false, Ordering::Release);
    Ok(executed.send()?)
}
