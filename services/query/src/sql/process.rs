//! A process for each statement: it can be killed whatever it is doing, its memory is limited by
//! itself, and its end does not affect the service.

mod child;
mod lock_check;
mod locks;

use std::{
    env, io, mem,
    os::unix::process::CommandExt as _,
    process::{self, Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard,
        mpsc::{Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use service_runtime::Reservation;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use warm_tier::sql::{Chunks, Job, Limits, Parsed, Select, SqlError, TableRows};

use crate::slots::Slot;

pub(crate) use child::entry;
pub(crate) use lock_check::check_locks;

/// `argv[0]` of the process: the image has all programs in one file and chooses by it.
const PROGRAM_NAME: &str = "query";
/// Path of this program, valid also when its file was replaced meanwhile.
const OWN_EXECUTABLE: &str = "/proc/self/exe";
/// Chunks of an answer that wait for its client: what it does not read stays in the process.
const QUEUED_CHUNKS: usize = 2;
/// Longest wait for a chunk of an answer, which its process has whole before it sends the first.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that a client may take to read an answer, which keeps a process and a slot until then.
const ANSWER_TIME: Duration = Duration::from_secs(600);

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
    let Limits { timeout, .. } = job.limits;
    let process = KillOnDrop::default();
    let state = Arc::clone(&process.0);
    let (select, parsed, slot) = blocking_until(deadline, timeout, move || {
        let (stdin, stdout) = start_in(&state, job.limits)?;
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
            until: Instant::now() + ANSWER_TIME,
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
    until: Instant,
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
        if Instant::now() >= self.until {
            self.ended = true;
            return Some(Err(io::Error::other("its client reads it too slowly")));
        }
        let chunk = match tokio::time::timeout(CHUNK_TIMEOUT, self.receiver.recv()).await {
            Ok(chunk) => chunk
                .unwrap_or_else(|| Err(io::Error::other("the statement ended before its answer"))),
            Err(_) => Err(io::Error::other("its process does not send the answer")),
        };
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
fn start_in(
    state: &Mutex<ProcessState>,
    limits: Limits,
) -> Result<(ChildStdin, ChildStdout), SqlError> {
    let mut state = lock(state);
    if matches!(*state, ProcessState::Ended) {
        return Err(SqlError::Died);
    }
    let mut command = command(child::STATEMENT_ARGUMENT);
    // If the service has ended before the process starts, the process ends at once.
    command.arg(process::id().to_string());
    command.args(child::arguments(limits));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::null());
    let started = spawn(command);
    let mut child =
        started.map_err(|error| SqlError::Engine(format!("start its process: {error}")))?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    *state = ProcessState::Running(child);
    Ok(pipes.expect("both are pipes"))
}

/// Starts `command` from a thread that never ends: the kernel kills the process when the thread that started
/// it ends, and those of the runtime end when they are idle for some seconds.
fn spawn(command: Command) -> io::Result<Child> {
    type Request = (Command, SyncSender<io::Result<Child>>);
    static STARTER: LazyLock<Sender<Request>> = LazyLock::new(|| {
        let (sender, requests) = channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in requests {
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, started) = sync_channel(1);
    let requested = STARTER.send((command, reply));
    requested.map_err(|_| io::Error::other("its starter has ended"))?;
    started.recv().map_err(io::Error::other)?
}

/// This program with `argument`, without the environment: it has credentials.
fn command(argument: &str) -> Command {
    let mut command = Command::new(OWN_EXECUTABLE);
    command.arg0(PROGRAM_NAME).arg(argument).env_clear();
    if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", path);
    }
    command
}

fn lock(state: &Mutex<ProcessState>) -> MutexGuard<'_, ProcessState> {
    state.lock().expect("nothing panics while it holds this")
}

#[cfg(test)]
mod tests;
