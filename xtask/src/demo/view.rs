//! The demo's access to Isotherm: by the `isotherm` program, as any user has it.

use std::{path::PathBuf, process::Command};

use anyhow::Context as _;
use serde::Deserialize;

use crate::run;

#[derive(Debug)]
pub(super) struct View {
    program: PathBuf,
    base: u16,
}

/// A row of `/v1/tiers`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Tier {
    pub(super) tier: String,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) bytes_per_event: Option<f64>,
    pub(super) oldest_at: Option<String>,
}

#[derive(Deserialize)]
struct Tiers {
    tiers: Vec<Tier>,
}

impl View {
    pub(super) fn new(program: PathBuf, base: u16) -> Self {
        Self { program, base }
    }

    /// `isotherm` with `args` and the addresses of the services.
    pub(super) fn isotherm(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, value) in self.environment() {
            command.env(name, value);
        }
        run::find_libraries(&mut command);
        command
            .args(args)
            .current_dir(run::root())
            .env("NO_PROXY", "127.0.0.1");
        command
    }

    fn environment(&self) -> [(&'static str, String); 3] {
        let local =
            |scheme: &str, distance| format!("{scheme}://127.0.0.1:{}", self.base + distance);
        [
            ("ISOTHERM_INGEST_URL", local("http", 1)),
            ("ISOTHERM_URL", local("http", 2)),
            ("ISOTHERM_NATS_URL", local("nats", 22)),
        ]
    }

    /// The addresses as arguments of the shell's `export`.
    pub(super) fn exports(&self) -> String {
        self.environment()
            .map(|(name, value)| format!("{name}={value}"))
            .join(" ")
    }

    pub(super) fn tiers(&self) -> anyhow::Result<Vec<Tier>> {
        let answer = run::output(self.isotherm(&["tiers", "-o", "json"]))?;
        let tiers: Tiers = serde_json::from_slice(&answer).context("read the list of tiers")?;
        Ok(tiers.tiers)
    }

    pub(super) fn is_in_all_tiers(&self, conversation: &str) -> anyhow::Result<bool> {
        let (tiers, _) = self.read(conversation)?;
        Ok(["hot", "warm", "cold"]
            .iter()
            .all(|tier| tiers.contains(tier)))
    }

    /// Whether sampling has dropped anything yet.
    pub(super) fn is_sampled(&self) -> anyhow::Result<bool> {
        let sql = "SELECT count(*) AS n FROM events WHERE sample_rate < 1";
        Ok(self.table(&["query", sql, "-o", "csv"])?.lines().nth(1) != Some("0"))
    }

    /// Reads a whole conversation: the tiers that answered, as the service names them, and the number
    /// of events.
    pub(super) fn read(&self, conversation: &str) -> anyhow::Result<(String, usize)> {
        let mut command = self.isotherm(&["get", conversation, "--show-tiers", "-o", "ndjson"]);
        let output = command.output().context("start isotherm get")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "isotherm get failed: {}",
            stderr.trim()
        );
        let tiers = stderr
            .lines()
            .find_map(|line| line.strip_prefix("Isotherm-Tiers: "));
        let events = output
            .stdout
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        Ok((tiers.unwrap_or_default().to_owned(), events.count()))
    }

    /// Runs `isotherm` and returns the table that it prints.
    pub(super) fn table(&self, args: &[&str]) -> anyhow::Result<String> {
        let text = run::output(self.isotherm(args))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
