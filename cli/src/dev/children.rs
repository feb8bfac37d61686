//! The child processes of `dev`: started in order, started again when they end, stopped in reverse, never
//! left running.

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    fs::File,
    num::NonZero,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;

use super::{
    child::{Child, Layer, Start, append_log, last_lines, new_log},
    restarts::Restarts,
};
use crate::output;

/// Interval at which processes are checked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Number of worker threads of our programs; a value set by the user takes precedence.
const THREADS: &str = "TOKIO_WORKER_THREADS";

/// All children, in the order in which they were started.
#[derive(Debug)]
pub(crate) struct Children {
    logs: PathBuf,
    library_path: Option<OsString>,
    children: Vec<Child>,
}

impl Children {
    pub(crate) fn new(logs: PathBuf, library_path: Option<OsString>) -> Self {
        Self {
            logs,
            library_path,
            children: Vec::new(),
        }
    }

    /// Starts a program so that it dies when this process does, whatever kills it. Must be called
    /// on a thread that lives as long as the process.
    pub(crate) fn start(&mut self, start: Start) -> anyhow::Result<()> {
        let log = self.logs.join(format!("{}.log", start.name));
        let file = new_log(&log).with_context(|| format!("write {}", log.display()))?;
        self.children.push(Child {
            process: self.spawn(&start, file)?,
            start,
            log,
            restarts: Restarts::default(),
            restart_at: None,
        });
        Ok(())
    }

    fn spawn(&self, start: &Start, log: File) -> anyhow::Result<process::Child> {
        let own_program = env::current_exe().context("find this program")?;
        let mut command = Command::new(own_program);
        if let Some(path) = &self.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
        if start.cpu.half_of_the_cores && env::var_os(THREADS).is_none() {
            let cores = thread::available_parallelism().map_or(1, NonZero::get);
            command.env(THREADS, (cores / 2).max(1).to_string());
        }
        command
            .args(["__exec", "--parent", &process::id().to_string()])
            .args(["--nice", &start.cpu.nice.to_string(), "--"])
            .arg(&start.program)
            .args(&start.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // In a group of its own, Ctrl-C does not reach it: `stop` stops the children in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", start.name))
    }

    /// Fails when one of them has ended, with the end of its log.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        for child in &mut self.children {
            if let Some(status) = child.process.try_wait()? {
                return Err(child.failed(status));
            }
        }
        Ok(())
    }

    /// Starts again each that ends. Returns only the error of one that ends again and again.
    pub(crate) async fn watch(&mut self) -> anyhow::Result<Infallible> {
        loop {
            for index in 0..self.children.len() {
                self.restart_if_ended(index)?;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn restart_if_ended(&mut self, index: usize) -> anyhow::Result<()> {
        let child = &mut self.children[index];
        let now = Instant::now();
        if child.restart_at.is_none() {
            let Some(status) = child.process.try_wait()? else {
                return Ok(());
            };
            let pause = child.restarts.died(now);
            let pause = pause.ok_or_else(|| child.gives_up(status))?;
            child.restart_at = Some(now + pause);
            output::note(&format!(
                "{}, restarting in {} s",
                child.end(status),
                pause.as_secs()
            ));
        }
        if self.children[index].restart_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        let child = &self.children[index];
        let log = append_log(&child.log);
        let log = log.with_context(|| format!("write {}", child.log.display()))?;
        let process = self.spawn(&child.start, log)?;
        let child = &mut self.children[index];
        (child.process, child.restart_at) = (process, None);
        Ok(())
    }

    /// Ends the program `name` in order, so that it is started again.
    pub(crate) fn terminate(&mut self, name: &str) {
        let children = self.children.iter_mut();
        for child in children.filter(|child| child.start.name == name) {
            child.signal(Signal::SIGTERM);
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
            .filter(|child| child.start.layer == layer);
        of_layer.any(Child::is_alive)
    }

    fn signal(&mut self, layer: Layer, signal: Signal) {
        for child in self
            .children
            .iter_mut()
            .filter(|child| child.start.layer == layer)
        {
            child.signal(signal);
        }
    }
}
