//! The programs of our own cluster that Debian does not have: built from their Go modules, again only
//! when their sources or versions change.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::{
    buildah::ImageStore,
    run::{self, step},
};

const KUBERNETES_VERSION: &str = "v1.34.4";

fn dir() -> PathBuf {
    run::root().join(".tools/kubernetes/cluster")
}

/// The archive of an image that the cluster itself needs.
pub(super) fn image(name: &str) -> PathBuf {
    dir().join(format!("{name}.tar"))
}

/// Builds the programs unless they are up to date; returns their folder.
pub(super) fn build() -> anyhow::Result<PathBuf> {
    let (dir, stamp) = (dir(), stamp()?);
    let stamp_file = dir.join("stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(dir);
    }
    step("build the cluster's programs", || {
        fs::create_dir_all(&dir)?;
        run::check(go(&dir))?;
        for name in ["pause", "coredns"] {
            build_image(&dir, name)?;
        }
        Ok(fs::write(&stamp_file, &stamp)?)
    })?;
    Ok(dir)
}

fn go(dir: &Path) -> Command {
    let package = "k8s.io/component-base/version";
    let minor = KUBERNETES_VERSION
        .split('.')
        .nth(1)
        .expect("a version has parts");
    let mut go = Command::new("go");
    go.args(["build", "-C", "e2e/cluster", "-ldflags"])
        .arg(format!(
            "-s -w -X {package}.gitVersion={KUBERNETES_VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}"
        ))
        .arg("-o")
        .arg(format!("{}/", dir.display()))
        .args(["tool", "./coredns", "./pause"])
        .env("CGO_ENABLED", "0")
        .current_dir(run::root());
    go
}

/// Builds an image with one static program.
fn build_image(dir: &Path, name: &str) -> anyhow::Result<()> {
    let context = dir.join(format!("{name}.image"));
    fs::create_dir_all(&context)?;
    fs::copy(dir.join(name), context.join(name))?;
    let recipe = format!("FROM scratch\nCOPY {name} /{name}\nENTRYPOINT [\"/{name}\"]\n");
    fs::write(context.join("Dockerfile"), recipe)?;
    let store = ImageStore::new(dir)?;
    store.build(&context.join("Dockerfile"), &context, name, &[])?;
    store.save(name, &image(name))?;
    drop(store);
    Ok(fs::remove_dir_all(context)?)
}

/// Identifies a build: the version and a hash of all sources.
fn stamp() -> anyhow::Result<String> {
    let folder = run::root().join("e2e/cluster");
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum", "coredns/main.go", "pause/main.go"] {
        let file = folder.join(file);
        hash.update(fs::read(&file).with_context(|| format!("read {}", file.display()))?);
    }
    Ok(format!("{KUBERNETES_VERSION} {:x}\n", hash.finalize()))
}
