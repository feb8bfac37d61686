//! What a process that runs statements does.

use std::{
    env, fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use arrow::{array::RecordBatch, datatypes::SchemaRef};
use nix::{
    sys::{
        prctl,
        resource::Resource,
        signal::{Signal, kill},
    },
    unistd::getpid,
};
use warm_tier::sql::{EncodeError, Sandbox, Work, serve};

use crate::{
    lock_check::{self, LOCK_CHECK_ARGUMENT},
    locks::{self, Lock},
    process::STATEMENTS_ARGUMENT,
};

/// Bytes that a process may use beside twice what DuckDB counts; DuckDB does not count everything that it
/// allocates.
const UNCOUNTED_BYTES: u64 = 1 << 30;
/// Time after a statement's timeout at which its process kills itself, if the service has not.
const SELF_KILL_GRACE: Duration = Duration::from_secs(1);

/// What this process does instead of the service, when it was started for statements.
pub(crate) fn entry() -> Option<fn() -> ExitCode> {
    let first = env::args_os().nth(1)?;
    match first.to_str()? {
        STATEMENTS_ARGUMENT => Some(run),
        LOCK_CHECK_ARGUMENT => Some(lock_check::serve),
        _ => None,
    }
}

/// Runs statements from stdin until it is closed.
fn run() -> ExitCode {
    match close_up().and_then(|mut sandbox| answer(&mut sandbox)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Ties the process to its service, and gives up all that a statement does not need.
fn close_up() -> anyhow::Result<Sandbox> {
    let [service, bytes, threads, folder] = [2, 3, 4, 5].map(|index| env::args().nth(index));
    let service = service.context("the service's id is missing")?;
    service_runtime::die_with(service.parse().context("the service's id")?)?;
    prctl::set_no_new_privs().context("give up privileges")?;
    // The kernel kills this process first when the machine runs out of memory.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    let bytes: u64 = bytes.context("the memory is missing")?.parse()?;
    let threads = threads.context("the threads are missing")?.parse()?;
    let folder = PathBuf::from(folder.context("the folder is missing")?);
    let most = bytes.saturating_mul(2) + UNCOUNTED_BYTES;
    locks::limit(Resource::RLIMIT_DATA, most)?;
    for lock in Lock::ALL {
        // The service has said at its start which of them this kernel has.
        let _ = lock.apply(Some(&folder));
    }
    Ok(Sandbox::open(bytes, threads, Some(&folder))?)
}

fn answer(sandbox: &mut Sandbox) -> anyhow::Result<()> {
    let (works, changes) = mpsc::channel();
    thread::spawn(move || watch(&changes));
    let note = |work| {
        // It watches until the process ends.
        let _ = works.send(work);
    };
    let (stdin, stdout) = (io::stdin().lock(), io::stdout().lock());
    Ok(serve(stdin, stdout, sandbox, &encode, &note)?)
}

fn encode(
    content_type: &str,
    schema: &SchemaRef,
    batches: &mut dyn Iterator<Item = RecordBatch>,
    out: &mut dyn Write,
) -> Result<(), EncodeError> {
    Ok(segment::encoding::write(
        content_type,
        schema,
        batches,
        out,
    )?)
}

/// Kills this process when a statement takes longer than it may. While its answer is read, the service watches
/// over it.
fn watch(changes: &mpsc::Receiver<Work>) {
    let mut work = Work::Waits;
    loop {
        let changed = match work {
            Work::Waits => changes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Work::Statement(limit) => changes.recv_timeout(limit + SELF_KILL_GRACE),
        };
        work = match changed {
            Ok(work) => work,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let _ = kill(getpid(), Signal::SIGKILL);
                return;
            }
        };
    }
}
