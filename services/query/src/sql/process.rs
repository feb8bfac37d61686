//! A process for each statement: it can be killed whatever it is doing, its memory is limited by
//! itself, and its end does not affect the service.

use std::{
    env, io, mem,
    os::unix::process::CommandExt as _,
    process::{self, Child, Command, ExitCode, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::getpid,
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use warm_tier::sql::{Answer, Job, Received, SqlError};

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

/// Whether this process was started to run one statement.
pub(crate) fn is_statement_process() -> bool {
    env::args_os()
        .nth(1)
        .is_some_and(|first| first == STATEMENT_ARGUMENT)
}

/// Reads a job from stdin, runs it, and writes its answer to stdout.
pub(crate) fn serve_statement() -> ExitCode {
    let serve = || -> anyhow::Result<()> {
        let service = env::args().nth(2).context("the service's id is missing")?;
        service_runtime::die_with(service.parse().context("the service's id")?)?;
        let received = Received::read(io::stdin().lock())?;
        let limits = received.limits();
        let bytes = limits.memory_bytes.saturating_mul(2) + UNCOUNTED_BYTES;
        service_runtime::bound_memory(bytes)?;
        // The kernel kills this process first when the machine runs out of memory.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        thread::spawn(move || {
            thread::sleep(limits.timeout + SELF_KILL_GRACE);
            kill(getpid(), Signal::SIGKILL)
        });
        Ok(received.run(io::stdout().lock())?)
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

/// Kills the process when its answer is no longer awaited.
struct KillOnDrop(Arc<Mutex<ProcessState>>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        match &mut *lock(&self.0) {
            // The thread that talks to it sees its end and reaps it.
            ProcessState::Running(child) => drop(child.kill()),
            state => *state = ProcessState::Ended,
        }
    }
}

/// Runs `job` in a process until `deadline`. `slot` is released when the process has ended and not
/// before, also when the returned future is dropped.
///
/// # Errors
///
/// [`SqlError::Timeout`] at the deadline, [`SqlError::Died`] when the process ended without an answer,
/// or its own answer.
pub(crate) async fn run(
    job: Job,
    slot: OwnedSemaphorePermit,
    deadline: Instant,
) -> Result<Answer, SqlError> {
    let timeout = job.limits.timeout;
    let state = Arc::new(Mutex::new(ProcessState::NotStarted));
    let _kill_on_drop = KillOnDrop(Arc::clone(&state));
    let running = tokio::task::spawn_blocking(move || {
        let answer = run_process(job, &state);
        drop(slot);
        answer
    });
    match tokio::time::timeout_at(deadline, running).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(SqlError::Died),
        Err(_) => Err(SqlError::Timeout(timeout)),
    }
}

/// Starts the process, hands it `job`, and reaps it.
fn run_process(job: Job, state: &Mutex<ProcessState>) -> Result<Answer, SqlError> {
    let start_error = |error: io::Error| SqlError::Engine(format!("start its process: {error}"));
    let (stdin, stdout) = {
        let mut state = lock(state);
        if matches!(*state, ProcessState::Ended) {
            return Err(SqlError::Died);
        }
        let mut child = start().map_err(start_error)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        *state = ProcessState::Running(child);
        pipes.expect("both are pipes")
    };
    let answer = job.ask(stdin, stdout);
    let state = mem::replace(&mut *lock(state), ProcessState::Ended);
    if let ProcessState::Running(mut child) = state {
        // Its answer is complete or will never come. Both calls fail only if it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
    answer
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
