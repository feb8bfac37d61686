//! The programs of our own cluster: built from their modules when they, or how they are built,
//! have changed. What Debian has, Debian brings.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use super::buildah;
use crate::run::{self, step};

const VERSION: &str = "v1.34.4";

fn dir() -> PathBuf {
    run::root().join(".tools/kubernetes/cluster")
}

/// The archive of an image that the cluster itself needs.
pub(super) fn image(name: &str) -> PathBuf {
    dir().join(format!("{name}.tar"))
}

/// Where they are, built if they have to be.
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
