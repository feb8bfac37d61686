//! A process of its own for each statement: it can be ended whatever it is doing, what it takes is
//! its own, and nobody goes with it.

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

/// What this program is called with when it is to run one statement, before the service's id.
const ARGUMENT: &str = "__statement";
/// Also by its first argument: the image has all programs in one file.
const NAME: &str = "query";
/// This program, also when its file was replaced meanwhile.
const ITSELF: &str = "/proc/self/exe";
/// What a statement's process may take beside twice what DuckDB counts.
const UNCOUNTED_BYTES: u64 = 1 << 30;
/// After its time is over, how long it may wait to be killed before it does so itself.
const GRACE: Duration = Duration::from_secs(1);

/// Whether this process was started to run one statement.
pub(crate) fn is_one() -> bool {
    env::args_os().nth(1).is_some_and(|first| first == ARGUMENT)
}

/// Reads a job from stdin, runs it, answers on stdout.
pub(crate) fn serve() -> ExitCode {
    let serve = || -> anyhow::Result<()> {
        let service = env::args().nth(2).context("the service's id is missing")?;
        service_runtime::die_with(service.parse().context("the service's id")?)?;
        let received = Received::read(io::stdin().lock())?;
        let limits = received.limits();
        let bytes = limits.memory_bytes.saturating_mul(2) + UNCOUNTED_BYTES;
        service_runtime::bound_memory(bytes)?;
        // Of all processes this is the one to go when the machine runs out of memory.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        thread::spawn(move || {
            thread::sleep(limits.timeout + GRACE);
            kill(getpid(), Signal::SIGKILL)
        });
        Ok(received.run(io::stdout().lock())?)
    };
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Where the process of a job is.
#[derive(Debug)]
enum State {
    NotYet,
    Running(Child),
    /// Or nobody wants it any more.
    Gone,
}

/// Ends the process when nobody waits for its answer any more.
struct KillOnDrop(Arc<Mutex<State>>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        match &mut *lock(&self.0) {
            // Who asks it finds its end, and buries it.
            State::Running(child) => drop(child.kill()),
            state => *state = State::Gone,
        }
    }
}

/// Runs `job` until `deadline`. `slot` is given back when the process is gone and not before, also
/// when nobody waits for the answer any more.
pub(crate) async fn run(
    job: Job,
    slot: OwnedSemaphorePermit,
    deadline: Instant,
) -> Result<Answer, SqlError> {
    let timeout = job.limits.timeout;
    let state = Arc::new(Mutex::new(State::NotYet));
    let _leash = KillOnDrop(Arc::clone(&state));
    let asked = tokio::task::spawn_blocking(move || {
        let answer = ask(job, &state);
        drop(slot);
        answer
    });
    match tokio::time::timeout_at(deadline, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(SqlError::Died),
        Err(_) => Err(SqlError::Timeout(timeout)),
    }
}

fn ask(job: Job, state: &Mutex<State>) -> Result<Answer, SqlError> {
    let failed = |error: io::Error| SqlError::Engine(format!("start its process: {error}"));
    let (stdin, stdout) = {
        let mut state = lock(state);
        if matches!(*state, State::Gone) {
            return Err(SqlError::Died);
        }
        let mut child = start().map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        *state = State::Running(child);
        pipes.expect("both are pipes")
    };
    let answer = job.ask(stdin, stdout);
    let state = mem::replace(&mut *lock(state), State::Gone);
    if let State::Running(mut child) = state {
        // It has said what it had to say, or never will. Both fail only when it is gone already.
        let _ = child.kill();
        let _ = child.wait();
    }
    answer
}

fn start() -> io::Result<Child> {
    let mut command = Command::new(ITSELF);
    // Whatever the statement finds, there are no keys in it.
    command.arg0(NAME).arg(ARGUMENT).env_clear();
    // It may start after the service has ended, and must then not run.
    command.arg(process::id().to_string());
    if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", path);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::null()).spawn()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nothing panics while it holds this")
}
