//! The child processes of `dev`: started in order, stopped in reverse, never left running.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    num::NonZero,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::programs;

/// Interval at which processes are checked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Lines shown of the log of a program that failed.
const SHOWN_LINES: usize = 12;

/// The group in which a program is stopped: services first, then the servers that they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Server,
    Service,
}

impl Layer {
    /// Time between SIGTERM and SIGKILL.
    fn stop_timeout(self) -> Duration {
        match self {
            Self::Service => Duration::from_secs(5),
            Self::Server => Duration::from_secs(3),
        }
    }
}

/// CPU priority and threads of a program, on a machine that all of them share.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuSettings {
    /// Nice value: higher is a lower priority.
    pub(crate) nice: i32,
    /// Limits our own programs to half as many worker threads as there are cores, since several of them
    /// work at the same time.
    pub(crate) half_of_the_cores: bool,
}

/// Number of worker threads of our programs; a value set by the user takes precedence.
const THREADS: &str = "TOKIO_WORKER_THREADS";

#[derive(Debug)]
struct Child {
    name: &'static str,
    layer: Layer,
    process: process::Child,
    log: PathBuf,
}

/// All running children, in the order in which they were started.
#[derive(Debug)]
pub(crate) struct Children {
    logs: PathBuf,
    children: Vec<Child>,
}

impl Children {
    pub(crate) fn new(logs: PathBuf) -> Self {
        Self {
            logs,
            children: Vec::new(),
        }
    }

    /// Starts `program` so that it dies when this process does, whatever kills it. Must be called
    /// on a thread that lives as long as the process.
    pub(crate) fn start(
        &mut self,
        name: &'static str,
        layer: Layer,
        program: &Path,
        args: Vec<OsString>,
        cpu: CpuSettings,
    ) -> anyhow::Result<()> {
        let log = self.logs.join(format!("{name}.log"));
        let file = new_log(&log).with_context(|| format!("write {}", log.display()))?;
        let own_program = env::current_exe().context("find this program")?;
        let mut command = Command::new(own_program);
        if let Some(path) = programs::library_path() {
            command.env("LD_LIBRARY_PATH", path);
        }
        if cpu.half_of_the_cores && env::var_os(THREADS).is_none() {
            let cores = thread::available_parallelism().map_or(1, NonZero::get);
            command.env(THREADS, (cores / 2).max(1).to_string());
        }
        let process = command
            .args(["__exec", "--parent", &process::id().to_string()])
            .args(["--nice", &cpu.nice.to_string(), "--"])
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // In a group of its own, Ctrl-C does not reach it: `stop` stops the children in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        self.children.push(Child {
            name,
            layer,
            process,
            log,
        });
        Ok(())
    }

    /// Fails when one of them has ended, with the end of its log.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        for child in &mut self.children {
            if let Some(status) = child.process.try_wait()? {
                return Err(child.exit_report(status));
            }
        }
        Ok(())
    }

    /// Runs until one of them ends, which is an error; never returns `Ok`.
    pub(crate) async fn watch(&mut self) -> anyhow::Result<()> {
        loop {
            self.check_alive()?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Polls `ready` until it is true. Fails after `limit`, or when one of them ends.
    pub(crate) async fn wait_ready(
        &mut self,
        name: &str,
        limit: Duration,
        mut ready: impl AsyncFnMut() -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        while !ready().await {
            self.check_alive()?;
            if Instant::now() >= deadline {
                let log = self.logs.join(format!("{name}.log"));
                bail!(
                    "{name} is not ready after {} s; the end of {}:\n{}",
                    limit.as_secs(),
                    log.display(),
                    last_lines(&log)
                );
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Stops services, then servers, and kills those that do not stop in time; within 9 s.
    pub(crate) async fn stop(&mut self) {
        for layer in [Layer::Service, Layer::Server] {
            self.signal(layer, Signal::SIGTERM);
            let deadline = Instant::now() + layer.stop_timeout();
            while self.any_alive(layer) && Instant::now() < deadline {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            self.signal(layer, Signal::SIGKILL);
        }
        for child in &mut self.children {
            // It fails only when the process was reaped already.
            let _ = child.process.wait();
        }
        self.children.clear();
    }

    fn any_alive(&mut self, layer: Layer) -> bool {
        let mut of_layer = self
            .children
            .iter_mut()
            .filter(|child| child.layer == layer);
        of_layer.any(Child::is_alive)
    }

    fn signal(&mut self, layer: Layer, signal: Signal) {
        for child in self
            .children
            .iter_mut()
            .filter(|child| child.layer == layer)
        {
            if child.is_alive() {
                // It may have ended since the check, but it is not reaped yet, so its pid cannot belong
                // to another process.
                let _ = kill(child.pid(), signal);
            }
        }
    }
}

impl Child {
    fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    fn exit_report(&self, status: ExitStatus) -> anyhow::Error {
        let log = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        // Our programs end with a line for people, `error: ...`; then the rest of the log is not shown.
        let message = log
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("error: "));
        if let Some(message) = message {
            let (name, log) = (self.name, self.log.display());
            return anyhow!("{name} ended, so everything is stopped: {message} (its log is {log})");
        }
        anyhow!(
            "{} ended ({status}), so everything is stopped; the end of {}:\n{}",
            self.name,
            self.log.display(),
            last_lines(&self.log)
        )
    }
}

/// Creates the log file; keeps the log of the previous run as `.log.1`.
fn new_log(path: &Path) -> io::Result<File> {
    if path.exists() {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    File::options().create(true).append(true).open(path)
}

fn last_lines(path: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    lines[from..].join("\n")
}
