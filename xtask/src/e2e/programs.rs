//! The programs of our own cluster: built from their modules when they, or how they are built,
//! have changed. What Debian has, Debian brings.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

use super::buildah;
use crate::run::{self, step};

/// A program to look for, and the Debian package that has it.
const NEEDED: [(&str, &str); 10] = [
    ("go", "golang (1.24 or later)"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("buildah", "buildah"),
    ("openssl", "openssl"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
];
const PLUGINS: [&str; 2] = ["/usr/lib/cni/ptp", "/opt/cni/bin/ptp"];

const VERSION: &str = "v1.34.4";

fn dir() -> PathBuf {
    run::root().join(".tools/kubernetes/cluster")
}

/// The archive of an image that the cluster itself needs.
pub(super) fn image(name: &str) -> PathBuf {
    dir().join(format!("{name}.tar"))
}

/// All that is missing, at once.
pub(super) fn require() -> anyhow::Result<()> {
    let mut missing: Vec<_> = NEEDED
        .iter()
        .filter(|(program, _)| !is_on_path(program))
        .map(|(_, package)| *package)
        .collect();
    if !PLUGINS.iter().any(|plugin| Path::new(plugin).exists()) {
        missing.push("containernetworking-plugins");
    }
    ensure!(
        missing.is_empty(),
        "to start a cluster here, these are missing: {0} (Debian and Ubuntu: `apt install {1}`); or \
         set KUBECONFIG, or install Docker and kind",
        missing.join(", "),
        missing.join(" ")
    );
    ensure!(
        fs::metadata("/proc/self")?.uid() == 0,
        "to start a cluster here takes root: run it with sudo, set KUBECONFIG, or install Docker \
         and kind"
    );
    Ok(())
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

pub(super) fn build() -> anyhow::Result<PathBuf> {
    require()?;
    let (dir, stamp) = (dir(), stamp()?);
    let stamp_file = dir.join("stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(dir);
    }
    step("build the cluster's programs", || {
        fs::create_dir_all(&dir)?;
        run::check(go(&dir))?;
        for name in ["pause", "coredns"] {
            single(&dir, name)?;
        }
        Ok(fs::write(&stamp_file, &stamp)?)
    })?;
    Ok(dir)
}

fn go(dir: &Path) -> Command {
    let package = "k8s.io/component-base/version";
    let minor = VERSION.split('.').nth(1).expect("a version has parts");
    let mut go = Command::new("go");
    go.args(["build", "-C", "e2e/cluster", "-ldflags"])
        .arg(format!(
            "-s -w -X {package}.gitVersion={VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}"
        ))
        .arg("-o")
        .arg(format!("{}/", dir.display()))
        .args(["tool", "./coredns", "./pause"])
        .env("CGO_ENABLED", "0")
        .current_dir(run::root());
    go
}

/// An image of one static program.
fn single(dir: &Path, name: &str) -> anyhow::Result<()> {
    let context = dir.join(format!("{name}.image"));
    fs::create_dir_all(&context)?;
    fs::copy(dir.join(name), context.join(name))?;
    let recipe = format!("FROM scratch\nCOPY {name} /{name}\nENTRYPOINT [\"/{name}\"]\n");
    fs::write(context.join("Dockerfile"), recipe)?;
    let store = buildah::Store::new(dir)?;
    store.build(&context.join("Dockerfile"), &context, name, &[])?;
    store.save(name, &image(name))?;
    drop(store);
    Ok(fs::remove_dir_all(context)?)
}

/// Of everything that decides what is built.
fn stamp() -> anyhow::Result<String> {
    let folder = run::root().join("e2e/cluster");
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum", "coredns/main.go", "pause/main.go"] {
        let file = folder.join(file);
        hash.update(fs::read(&file).with_context(|| format!("read {}", file.display()))?);
    }
    Ok(format!("{VERSION} {:x}\n", hash.finalize()))
}
