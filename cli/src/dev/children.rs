//! The processes that `dev` looks after: started in order, stopped in reverse, never left behind.

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

const POLL: Duration = Duration::from_millis(50);
/// How many lines of a dead program's log are shown.
const SHOWN_LINES: usize = 12;

/// In which order programs stop: services first, then what they stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Server,
    Service,
}

impl Layer {
    fn patience(self) -> Duration {
        match self {
            Self::Service => Duration::from_secs(5),
            Self::Server => Duration::from_secs(3),
        }
    }
}

/// What a program takes of the machine that all of them are on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    /// How far it stands back behind the others.
    pub(crate) nice: i32,
    /// One of ours has half as many threads as there are cores: several work at the same time.
    pub(crate) half_of_the_cores: bool,
}

/// How many threads our programs have; the user may set it.
const THREADS: &str = "TOKIO_WORKER_THREADS";

#[derive(Debug)]
struct Child {
    name: &'static str,
    layer: Layer,
    process: process::Child,
    log: PathBuf,
}

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
        share: Share,
    ) -> anyhow::Result<()> {
        let log = self.logs.join(format!("{name}.log"));
        let file = new_log(&log).with_context(|| format!("write {}", log.display()))?;
        let itself = env::current_exe().context("find this program")?;
        let mut command = Command::new(itself);
        if let Some(path) = programs::library_path() {
            command.env("LD_LIBRARY_PATH", path);
        }
        if share.half_of_the_cores && env::var_os(THREADS).is_none() {
            let cores = thread::available_parallelism().map_or(1, NonZero::get);
            command.env(THREADS, (cores / 2).max(1).to_string());
        }
        let process = command
            .args(["__exec", "--parent", &process::id().to_string()])
            .args(["--nice", &share.nice.to_string(), "--"])
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // Ctrl-C is for us alone: we stop them in order.
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

    /// Fails when one of them has ended, and says what it said last.
    pub(crate) fn must_live(&mut self) -> anyhow::Result<()> {
        for child in &mut self.children {
            if let Some(status) = child.process.try_wait()? {
                return Err(child.exit_report(status));
            }
        }
        Ok(())
    }

    /// Never returns well: fails as soon as one of them ends.
    pub(crate) async fn watch(&mut self) -> anyhow::Result<()> {
        loop {
            self.must_live()?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until `ready` holds while all of them live.
    pub(crate) async fn until(
        &mut self,
        name: &str,
        limit: Duration,
        mut ready: impl AsyncFnMut() -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        while !ready().await {
            self.must_live()?;
            if Instant::now() >= deadline {
                let log = self.logs.join(format!("{name}.log"));
                bail!(
                    "{name} is not ready after {} s; the end of {}:\n{}",
                    limit.as_secs(),
                    log.display(),
                    last_lines(&log)
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Stops services, then servers; kills what does not stop in time. All within 9 s.
    pub(crate) async fn stop(&mut self) {
        for layer in [Layer::Service, Layer::Server] {
            self.signal(layer, Signal::SIGTERM);
            let deadline = Instant::now() + layer.patience();
            while self.any_alive(layer) && Instant::now() < deadline {
                tokio::time::sleep(POLL).await;
            }
            self.signal(layer, Signal::SIGKILL);
        }
        for child in &mut self.children {
            // Fails only when it was waited for already.
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
                // It may have ended between the two lines; it is not yet waited for, so its
                // number belongs to nobody else.
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
        // What our programs say last is meant for people; the rest of their logs is not.
        let said = log
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("error: "));
        if let Some(said) = said {
            let (name, log) = (self.name, self.log.display());
            return anyhow!("{name} ended, so everything is stopped: {said} (its log is {log})");
        }
        anyhow!(
            "{} ended ({status}), so everything is stopped; the end of {}:\n{}",
            self.name,
            self.log.display(),
            last_lines(&self.log)
        )
    }
}

/// The log of the run before is kept once.
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
