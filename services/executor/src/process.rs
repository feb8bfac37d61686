//! The process of a statement: it can be killed whatever it is doing, its memory is limited by itself, and its
//! end does not affect the service.

use std::{
    env, io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{self, Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        LazyLock,
        mpsc::{Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

use warm_tier::sql::{Caller, SqlError};

/// `argv[0]` of the process: the image has all programs in one file and chooses by it.
const PROGRAM_NAME: &str = "executor";
/// First argument of this program when it is to run statements. The service's process id follows, and
/// [`arguments`].
pub(crate) const STATEMENTS_ARGUMENT: &str = "__statements";
/// Path of this program, valid also when its file was replaced meanwhile.
pub(crate) const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// What a process may use.
#[derive(Clone, Debug)]
pub(crate) struct ProcessSettings {
    /// The data folder of the compactor.
    pub(crate) data: PathBuf,
    pub(crate) memory_bytes: u64,
    pub(crate) threads: u16,
}

/// Kills and reaps the process when its answer is complete, or no longer awaited.
pub(crate) struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Both calls fail only if it has ended already; a killed process is reaped at once.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a process.
///
/// # Errors
///
/// [`SqlError::Engine`] when the system does not start it.
pub(crate) fn start(
    settings: &ProcessSettings,
) -> Result<(KillOnDrop, Caller<ChildStdin, ChildStdout>), SqlError> {
    let mut command = command(STATEMENTS_ARGUMENT);
    // If the service has ended before the process starts, the process ends at once.
    command.arg(process::id().to_string());
    command.args(arguments(settings));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::null());
    let started = spawn(command);
    let mut child =
        started.map_err(|error| SqlError::Engine(format!("start its process: {error}")))?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let (stdin, stdout) = pipes.expect("both are pipes");
    Ok((KillOnDrop(child), Caller::new(stdin, stdout)))
}

/// Bytes of memory, threads, and the data folder.
fn arguments(settings: &ProcessSettings) -> [String; 3] {
    let folder = settings.data.to_string_lossy().into_owned();
    [
        settings.memory_bytes.to_string(),
        settings.threads.to_string(),
        folder,
    ]
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
pub(crate) fn command(argument: &str) -> Command {
    let mut command = Command::new(OWN_EXECUTABLE);
    command.arg0(PROGRAM_NAME).arg(argument).env_clear();
    if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", path);
    }
    command
}
