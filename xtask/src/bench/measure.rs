//! One run: all of Isotherm, then one XADD per event, one after the other, each in an empty folder
//! below the target directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use serde::de::DeserializeOwned;

use super::{
    cpu,
    figures::{Baseline, Isotherm, Run},
    servers,
};
use crate::{process, run};

const NO_EXTRA_ARGS: [&str; 0] = [];
const PROGRAMS: [&str; 7] = [
    "isotherm",
    "ingest",
    "hot-writer",
    "compactor",
    "query",
    "archiver",
    "executor",
];

/// When the compactor writes the warm tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WarmWrites {
    Immediate,
    /// Stopped until the events are in the hot tier.
    Delayed,
}

/// The programs to measure, and a folder for their data.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) release: PathBuf,
    dir: PathBuf,
}

impl Bench {
    pub(super) fn build() -> anyhow::Result<Self> {
        let mut args = vec!["build", "--release", "--bins"];
        args.extend(["--example", "xadd_baseline", "-p", "hot-tier"]);
        for program in PROGRAMS {
            args.extend(["-p", program]);
        }
        run::check(run::cargo(&args))?;
        let target = process::target_folder()?;
        let dir = target.join(format!("bench/{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let release = target.join("release");
        Ok(Self { release, dir })
    }

    /// The file with the events.
    pub(super) fn events(&self) -> PathBuf {
        self.dir.join("events.ndjson")
    }

    pub(super) fn run(&self, count: u64) -> anyhow::Result<Run> {
        let isotherm =
            self.in_folder("isotherm", |dir| self.isotherm(dir, WarmWrites::Immediate))?;
        let alone = self.in_folder("isotherm, hot alone", |dir| {
            self.isotherm(dir, WarmWrites::Delayed)
        })?;
        let baseline = self.in_folder("xadd", |dir| self.baseline(dir))?;
        let written = [
            isotherm.times.events,
            alone.times.events,
            baseline.times.events,
        ];
        for events in written {
            ensure!(events == count, "{events} of {count} events were written");
        }
        let alone = alone.times;
        Ok(Run {
            isotherm,
            alone,
            baseline,
        })
    }

    fn isotherm(&self, dir: &Path, warm: WarmWrites) -> anyhow::Result<Isotherm> {
        let base = process::free_base()?;
        let program = self.release.join("isotherm");
        let dev = process::isotherm(&program, dir, base, NO_EXTRA_ARGS)?;
        let local = |distance: u16| format!("127.0.0.1:{}", base + distance);
        let mut load = Command::new(&program);
        load.args(["--ingest-url", &format!("http://{}", local(1))]);
        load.args(["--url", &format!("http://{}", local(2))]);
        load.args(["bench-load", "--valkey", &local(23), "--events"]);
        load.arg(self.events()).env("NO_PROXY", "127.0.0.1");
        if warm == WarmWrites::Delayed {
            let compactor = cpu::child(dev.id(), "compactor")?;
            load.args(["--hold", &compactor.to_string()]);
        }
        let before = cpu::of_children(dev.id())?;
        let times = run_json(load)?;
        let cpu_seconds = cpu::between(&before, &cpu::of_children(dev.id())?);
        dev.stop()?;
        Ok(Isotherm { times, cpu_seconds })
    }

    fn baseline(&self, dir: &Path) -> anyhow::Result<Baseline> {
        let port = process::free_base()?;
        let valkey = servers::valkey(dir, port)?;
        let mut writer = Command::new(self.release.join("examples/xadd_baseline"));
        writer.args(["--url", &format!("redis://127.0.0.1:{port}"), "--events"]);
        writer.arg(self.events());
        let before = cpu::of(valkey.id())?;
        let times = run_json(writer)?;
        let server_cpu_seconds = cpu::of(valkey.id())? - before;
        valkey.stop()?;
        Ok(Baseline {
            times,
            server_cpu_seconds,
        })
    }

    /// Runs `measure` in a new folder, which is removed on success.
    pub(super) fn in_folder<T>(
        &self,
        name: &str,
        measure: impl FnOnce(&Path) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        run::say(&format!("   {name}"));
        let measured =
            measure(&dir).with_context(|| format!("see the logs in {}", dir.display()))?;
        fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
        Ok(measured)
    }

    /// Removes the folder with the events.
    pub(super) fn remove(&self) {
        // Files that cannot be removed are below the target directory.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Runs `command` and parses its stdout as JSON.
pub(super) fn run_json<T: DeserializeOwned>(mut command: Command) -> anyhow::Result<T> {
    run::find_libraries(&mut command);
    let name = run::shown(&command);
    let printed = run::output(command)?;
    serde_json::from_slice(&printed).with_context(|| format!("read the output of {name}"))
}
