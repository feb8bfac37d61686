//! A process for each statement: it can be killed whatever it is doing, its memory is limited by
//! itself, and its end does not affect the service.

use std::{
    env, io, mem,
    os::unix::process::CommandExt as _,
    process::{self, Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::getpid,
};
use service_runtime::Reservation;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use warm_tier::sql::{Chunks, Job, Parsed, Received, Select, SqlError, TableRows};

use super::slots::Slot;
use crate::format;

/// First argument of this program when it is to run one statement; the service's process id follows.
const STATEMENT_ARGUMENT: &str = "__statement";
/// `argv[0]` of the process: the image has all programs in one file and chooses by it.
const PROGRAM_NAME: &str = "query";
/// Path of this program, valid also when its file was replaced meanwhile.
const OWN_EXECUTABLE: &str = "/proc/self/exe";
/// Bytes that a statement's process may use beside twice what DuckDB counts; DuckDB does not count
/// everything that it allocates.
const UNCOUNTED_BYTES: u64 = 1 << 30;
/// Time after a statement's timeout at which its process kills itself, if the service has not.
const SELF_KILL_GRACE: Duration = Duration::from_secs(1);
/// Chunks of an answer that wait for its client: what it does not read stays in the process.
const QUEUED_CHUNKS: usize = 2;

/// Whether this process was started to run one statement.
pub(crate) fn is_statement_process() -> bool {
    env::args_os()
        .nth(1)
        .is_some_and(|first| first == STATEMENT_ARGUMENT)
}

/// Reads a statement from stdin, runs it, and writes its answer to stdout.
pub(crate) fn serve_statement() -> ExitCode {
    let serve = || -> anyhow::Result<()> {
        let service = env::args().nth(2).context("the service's id is missing")?;
        service_runtime::die_with(service.parse().context("the service's id")?)?;
        prctl::set_no_new_privs().context("give up privileges")?;
        let received = Received::read(io::stdin().lock(), io::stdout().lock())?;
        let limits = received.limits();
        let bytes = limits.memory_bytes.saturating_mul(2) + UNCOUNTED_BYTES;
        service_runtime::bound_memory(bytes)?;
        // The kernel kills this process first when the machine runs out of memory.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
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
    };
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// State of the process of a statement.
#[derive(Debug)]
enum ProcessState {
    NotStarted,
    Running(Child),
    /// Ended, or not to be started any more.
    Ended,
}

/// Kills and reaps the process when its answer is complete, or no longer awaited.
struct KillOnDrop(Arc<Mutex<ProcessState>>);

impl Default for KillOnDrop {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(ProcessState::NotStarted)))
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let state = mem::replace(&mut *lock(&self.0), ProcessState::Ended);
        if let ProcessState::Running(mut child) = state {
            // Both calls fail only if it has ended already; a killed process is reaped at once.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A statement that its process has parsed. Dropping it kills the process.
pub(crate) struct StatementProcess {
    parsed: Parsed<ChildStdin, ChildStdout>,
    process: KillOnDrop,
    slot: Slot,
    timeout: Duration,
}

/// Starts a process for `job`, which parses the statement, until `deadline`. `slot` is released when the
/// process has ended and not before, also when the returned future is dropped.
///
/// # Errors
///
/// [`SqlError::Timeout`] at the deadline, [`SqlError::Died`] when the process ended without an answer,
/// or its own answer.
pub(crate) async fn parse(
    job: Job,
    slot: Slot,
    deadline: Instant,
) -> Result<(Select, StatementProcess), SqlError> {
    let timeout = job.limits.timeout;
    let process = KillOnDrop::default();
    let state = Arc::clone(&process.0);
    let (select, parsed, slot) = blocking_until(deadline, timeout, move || {
        let (stdin, stdout) = start_in(&state)?;
        let (select, parsed) = job.parse(stdin, stdout)?;
        Ok((select, parsed, slot))
    })
    .await?;
    let process = StatementProcess {
        parsed,
        process,
        slot,
        timeout,
    };
    Ok((select, process))
}

impl StatementProcess {
    /// Runs the statement on its rows until `deadline`. `memory`, which the rows take, is given back when the
    /// process has them.
    ///
    /// # Errors
    ///
    /// Those of [`parse`].
    pub(crate) async fn run(
        self,
        tables: Vec<TableRows>,
        memory: Reservation,
        deadline: Instant,
    ) -> Result<EncodedAnswer, SqlError> {
        let Self {
            parsed,
            process,
            slot,
            timeout,
        } = self;
        let (chunks, slot) = blocking_until(deadline, timeout, move || {
            let chunks = parsed.run(tables, || drop(memory))?;
            Ok((chunks, slot))
        })
        .await?;
        let (sender, receiver) = mpsc::channel(QUEUED_CHUNKS);
        let (waiting, waits) = oneshot::channel();
        tokio::task::spawn_blocking(move || forward(chunks, &sender, waiting, slot));
        Ok(EncodedAnswer {
            receiver,
            waits,
            ended: false,
            _process: process,
        })
    }
}

/// The encoded answer of a statement. Dropping it kills the process.
pub(crate) struct EncodedAnswer {
    /// An empty chunk is the end.
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    /// Sent when the queue is full; dropped when it has all that is left.
    waits: oneshot::Receiver<()>,
    ended: bool,
    _process: KillOnDrop,
}

impl EncodedAnswer {
    /// Whether the answer is too long to be taken from the process before the client reads it.
    pub(crate) async fn waits_for_client(&mut self) -> bool {
        (&mut self.waits).await.is_ok()
    }

    /// Returns the next chunk, or an error when the answer is cut off; `None` at its end.
    pub(crate) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.ended {
            return None;
        }
        let chunk = self.receiver.recv().await;
        let chunk =
            chunk.unwrap_or_else(|| Err(io::Error::other("the statement ended before its answer")));
        self.ended = !matches!(&chunk, Ok(chunk) if !chunk.is_empty());
        match chunk {
            Ok(chunk) if chunk.is_empty() => None,
            chunk => Some(chunk),
        }
    }
}

/// Passes `chunks` on until the client has all of them or has left. `waiting` is sent when it must wait for
/// the client.
fn forward(
    chunks: Chunks<ChildStdout>,
    to: &mpsc::Sender<io::Result<Bytes>>,
    waiting: oneshot::Sender<()>,
    slot: Slot,
) {
    let mut waiting = Some(waiting);
    let end = std::iter::once(Ok(Bytes::new()));
    for chunk in chunks.chain(end) {
        let failed = chunk.is_err();
        if to.capacity() == 0
            && let Some(waiting) = waiting.take()
        {
            // Nobody waits for it once the answer is sent.
            let _ = waiting.send(());
        }
        if to.blocking_send(chunk).is_err() || failed {
            break;
        }
    }
    drop(slot);
}

/// Runs `work` on a blocking thread until `deadline`; after it, `work` ends when its process is killed.
async fn blocking_until<T: Send + 'static>(
    deadline: Instant,
    timeout: Duration,
    work: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
) -> Result<T, SqlError> {
    match tokio::time::timeout_at(deadline, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(SqlError::Died),
        Err(_) => Err(SqlError::Timeout(timeout)),
    }
}

/// Starts the process, unless it is not awaited any more.
fn start_in(state: &Mutex<ProcessState>) -> Result<(ChildStdin, ChildStdout), SqlError> {
    let mut state = lock(state);
    if matches!(*state, ProcessState::Ended) {
        return Err(SqlError::Died);
    }
    let started = start();
    let mut child =
        started.map_err(|error| SqlError::Engine(format!("start its process: {error}")))?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    *state = ProcessState::Running(child);
    Ok(pipes.expect("both are pipes"))
}

fn start() -> io::Result<Child> {
    let mut command = Command::new(OWN_EXECUTABLE);
    // The environment has credentials, which the statement must not be able to read.
    command
        .arg0(PROGRAM_NAME)
        .arg(STATEMENT_ARGUMENT)
        .env_clear();
    // If the service has ended before the process starts, the process ends at once.
    command.arg(process::id().to_string());
    if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", path);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::null()).spawn()
}

fn lock(state: &Mutex<ProcessState>) -> MutexGuard<'_, ProcessState> {
    state.lock().expect("nothing panics while it holds this")
}
