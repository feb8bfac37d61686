//! Helm 4 comes with the cluster's tools, Helm 3 from its module, the schemas from PyPI.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::run;

const HELM3: &str = "v3.19.4";
const REQUIREMENTS: &str = "xtask/src/charts/requirements.txt";

fn dir() -> PathBuf {
    run::root().join(".tools/kubernetes")
}

pub(super) fn helm4() -> PathBuf {
    dir().join("bin/helm")
}

pub(super) fn helm3() -> PathBuf {
    dir().join("helm3/helm")
}

pub(super) fn kubernetes_validate() -> Command {
    let packages = dir().join("validate");
    let mut command = Command::new("python3");
    command.arg(packages.join("bin/kubernetes-validate"));
    command.env("PYTHONPATH", packages);
    command
}

pub(super) fn install() -> anyhow::Result<()> {
    once(
        "helm3",
        &["e2e/helm3/go.mod", "e2e/helm3/go.sum"],
        build_helm3,
    )?;
    once("validate", &[REQUIREMENTS], install_validate)
}

/// Runs `make` for a folder of `.tools/kubernetes`, unless these files are as they were last time.
fn once(
    name: &str,
    files: &[&str],
    make: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut wanted = Vec::new();
    for file in files {
        wanted.extend(fs::read(run::root().join(file)).with_context(|| format!("read {file}"))?);
    }
    let folder = dir().join(name);
    let stamp = folder.join("stamp");
    if fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    // What a run left that was stopped half way.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    make(&folder)?;
    Ok(fs::write(stamp, wanted)?)
}

fn build_helm3(folder: &Path) -> anyhow::Result<()> {
    let mut go = Command::new("go");
    go.args(["build", "-C", "e2e/helm3", "-ldflags"])
        .arg(format!(
            "-s -w -X helm.sh/helm/v3/internal/version.version={HELM3}"
        ))
        .arg("-o")
        .arg(format!("{}/", folder.display()))
        .arg("tool")
        .env("CGO_ENABLED", "0")
        .current_dir(run::root());
    run::check(go)
}

fn install_validate(folder: &Path) -> anyhow::Result<()> {
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
    ])
    .args([
        "--disable-pip-version-check",
        "--only-binary=:all:",
        "--root-user-action=ignore",
    ])
    .args(["--requirement", REQUIREMENTS, "--target"])
    .arg(folder)
    .current_dir(run::root());
    run::check(pip)
}
