//! Builds the scenarios by cargo and runs them in the network of the cluster.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context as _;

use super::{Args, Cluster};
use crate::{
    run::{self, step},
    test::{self, Summary},
};

/// Printed on clusters other than our own node.
const SKIPPED_NOTE: &str = "note: on this cluster no volume is filled, and the operator's rights are \
                            not compared with an audit log";

pub(super) fn run(args: &Args, cluster: &Cluster, program: &Path) -> anyhow::Result<Summary> {
    step("scenarios", || {
        let mut command = cluster.enter(program);
        command
            .args(["--test-threads", "2", "--nocapture"])
            .args(&args.scenarios)
            .env("PATH", path()?)
            .env("ISOTHERM_E2E_IMAGE", image(args))
            .env("ISOTHERM_E2E_ROOT", run::root())
            .current_dir(run::root());
        if !matches!(cluster, Cluster::External) {
            command.env("ISOTHERM_E2E_LOCAL_SERVERS", "1");
        }
        match cluster {
            Cluster::Own(cluster) => {
                command.envs(cluster.environment());
            }
            _ => {
                run::say(SKIPPED_NOTE);
                command.args(["--skip", "volume::"]);
            }
        }
        if args.keep {
            command.env("ISOTHERM_E2E_KEEP", "1");
        }
        test::run_and_count(command)
    })
}

impl Cluster {
    fn enter(&self, program: &Path) -> Command {
        match self {
            Self::Own(cluster) => cluster.enter(program),
            Self::External => Command::new(program),
            Self::Kind(cluster) => {
                let mut command = Command::new(program);
                command.env("KUBECONFIG", cluster.kubeconfig());
                command
            }
        }
    }
}

fn image(args: &Args) -> &str {
    args.image.as_deref().unwrap_or("localhost/isotherm:1")
}

/// The PATH with our helm and kubectl before those of the machine.
fn path() -> anyhow::Result<OsString> {
    let own = run::root().join(".tools/kubernetes/bin");
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&inherited)))
        .context("a folder on the PATH has a colon in its name")
}

/// Builds every program and the scenarios, with the same features as the other builds of CI, so that
/// nothing is built twice. Returns the test binary.
pub(super) fn build() -> anyhow::Result<PathBuf> {
    let mut cargo = run::cargo(&["build", "--locked", "--workspace", "--bins"]);
    cargo.args(["--test", "cluster", "--features"]);
    cargo.arg("e2e/cluster,cold-tier/external-s3");
    cargo.args(["--message-format", "json-render-diagnostics"]);
    cargo.stderr(Stdio::inherit());
    let output = String::from_utf8(run::output(cargo)?).context("read what cargo built")?;
    let mut built = output.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_ours = message["target"]["name"] == "cluster";
        let path = message["executable"].as_str().filter(|_| is_ours)?;
        Some(PathBuf::from(path))
    });
    built.next_back().context("cargo built no scenarios")
}
