//! The tools of the charts' checks: Helm 4 from the cluster tools, Helm 3 built from its Go module,
//! the schemas of Kubernetes from PyPI.

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
    install_once(
        "helm3",
        &["e2e/helm3/go.mod", "e2e/helm3/go.sum"],
        build_helm3,
    )?;
    install_once("validate", &[REQUIREMENTS], install_validate)
}

/// Runs `install` for the folder `name` of `.tools/kubernetes`, unless `files` are unchanged since the
/// last time.
fn install_once(
    name: &str,
    files: &[&str],
    install: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut expected = Vec::new();
    for file in files {
        expected.extend(fs::read(run::root().join(file)).with_context(|| format!("read {file}"))?);
    }
    let folder = dir().join(name);
    let stamp = folder.join("stamp");
    if fs::read(&stamp).is_ok_and(|found| found == expected) {
        return Ok(());
    }
    // A run that was interrupted may have left a partial folder.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    install(&folder)?;
    Ok(fs::write(stamp, expected)?)
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
