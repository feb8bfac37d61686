use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::Mutex,
    time::Duration,
};

use tempfile::TempDir;
use testkit::{Service, eventually, eventually_within, free_port};

mod deaths;
mod fences;

const ISOTHERM: &str = env!("CARGO_BIN_EXE_isotherm");
/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(90);
/// What the help promises.
const STOP: Duration = Duration::from_secs(10);
const SPAN: u16 = 32;

/// `isotherm dev` and what talks to it.
pub(crate) struct Dev {
    pub(crate) base: u16,
    process: Service,
}

impl Dev {
    /// Ready on `data`.
    pub(crate) async fn start(data: &Path, base: u16, more: &[&str]) -> Self {
        for name in ["ingest", "hot-writer", "compactor", "query", "archiver"] {
            let _ = testkit::program(name);
        }
        let process = Service::start(ISOTHERM, args(data, base, more));
        let mut dev = Self { base, process };
        dev.ready().await;
        dev
    }

    async fn ready(&mut self) {
        eventually_within(START, "isotherm dev is ready", async || {
            assert!(self.process.ended().is_none(), "{}", self.process.stderr());
            self.process.stdout().contains("\nready in ")
        })
        .await;
    }

    /// `isotherm` with the addresses of this `dev`.
    pub(crate) fn isotherm(&self, args: &[&str]) -> Command {
        isotherm(self.base, args)
    }

    pub(crate) fn get_text(&self, conversation: &str) -> Vec<u8> {
        let output = run(self.isotherm(&["get", conversation, "--text"]));
        assert!(output.status.success(), "{}", text(&output.stderr));
        output.stdout
    }

    /// SIGTERM; ends well and in time.
    pub(crate) async fn stop(mut self) {
        let children = children(self.process.pid());
        self.process.terminate();
        assert!(self.process.wait(STOP).await.success());
        assert_eq!(alive(&children), [] as [u32; 0]);
    }
}

/// `isotherm` for a `dev` with this port base.
pub(crate) fn isotherm(base: u16, args: &[&str]) -> Command {
    let mut command = Command::new(ISOTHERM);
    command
        .args(args)
        .env(
            "ISOTHERM_INGEST_URL",
            format!("http://127.0.0.1:{}", base + 1),
        )
        .env("ISOTHERM_URL", format!("http://127.0.0.1:{}", base + 2))
        .env(
            "ISOTHERM_NATS_URL",
            format!("nats://127.0.0.1:{}", base + 22),
        );
    command
}

pub(crate) fn run(mut command: Command) -> Output {
    command.output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A base with all ports above it free; never returned twice in this process.
pub(crate) fn free_base() -> u16 {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap();
    let mut ports = vec![free_port()];
    while ports.len() <= usize::from(SPAN) {
        let next = free_port();
        if ports.last() != Some(&(next - 1)) {
            ports.clear();
        }
        ports.push(next);
    }
    ports[0]
}

fn args(data: &Path, base: u16, more: &[&str]) -> Vec<String> {
    let own = ["dev", "--port-base"].map(str::to_owned);
    let data = ["--data".to_owned(), data.display().to_string()];
    let more = more.iter().map(|arg| (*arg).to_owned());
    own.into_iter()
        .chain([base.to_string()])
        .chain(data)
        .chain(more)
        .collect()
}

/// A start that must fail.
fn refused(data: &Path, base: u16, more: &[&str]) -> String {
    let mut command = Command::new(ISOTHERM);
    let output = run({
        command.args(args(data, base, more));
        command
    });
    assert_eq!(output.status.code(), Some(1));
    text(&output.stderr)
}

/// The processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        (stat(pid)?.1 == parent).then_some(pid)
    });
    pids.collect()
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Those that still run; a zombie does not.
fn alive(pids: &[u32]) -> Vec<u32> {
    let runs = |pid: &u32| stat(*pid).is_some_and(|(state, _)| state != 'Z');
    pids.iter().copied().filter(runs).collect()
}

#[tokio::test]
async fn everything_comes_back_after_a_stop_and_after_a_kill_and_nothing_is_left_behind() {
    let dir = TempDir::new().unwrap();
    let base = free_base();
    let dev = Dev::start(dir.path(), base, &[]).await;
    let said = run(dev.isotherm(&["append", "--conversation", "c", "one "]));
    assert!(said.status.success(), "{}", text(&said.stderr));
    dev.stop().await;

    let dev = Dev::start(dir.path(), base, &[]).await;
    assert_eq!(text(&dev.get_text("c")), "one ");
    run(dev.isotherm(&["append", "--conversation", "c", "two"]));
    let children = children(dev.process.pid());
    assert!(children.len() >= 7, "{children:?}");
    dev.process.kill().await;
    eventually("every child is dead", async || alive(&children).is_empty()).await;

    let dev = Dev::start(dir.path(), base, &[]).await;
    assert_eq!(text(&dev.get_text("c")), "one two");
    dev.stop().await;
}

#[tokio::test]
async fn a_second_start_on_the_same_data_a_taken_port_and_other_partitions_are_refused() {
    let dir = TempDir::new().unwrap();
    let base = free_base();
    let dev = Dev::start(dir.path(), base, &["--partitions", "2"]).await;

    let said = refused(dir.path(), free_base(), &[]);
    assert!(said.contains("in use by another `isotherm dev`"), "{said}");
    let other = TempDir::new().unwrap();
    let said = refused(other.path(), base, &[]);
    assert!(
        said.contains(&format!("port {} (ingest)", base + 1)),
        "{said}"
    );
    assert!(said.contains("--port-base"), "{said}");
    assert!(!other.path().join("nats").exists(), "nothing was started");
    dev.stop().await;

    let said = refused(dir.path(), base, &["--partitions", "3"]);
    assert!(said.contains("start with --partitions 2"), "{said}");
    Dev::start(dir.path(), base, &[]).await.stop().await;
}

#[test]
fn a_missing_program_says_how_to_get_it() {
    let dir = TempDir::new().unwrap();
    let alone = dir.path().join("isotherm");
    fs::copy(ISOTHERM, &alone).unwrap();
    let mut command = Command::new(alone);
    command.arg("dev").current_dir(dir.path()).env("PATH", "");
    let output = run(command);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("cargo xtask setup"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let data = dir.path().join(".isotherm");
    assert!(!data.exists(), "nothing came of it");
}
