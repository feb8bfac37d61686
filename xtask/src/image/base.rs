//! The base image, from files of this machine: the loader, the C libraries that the programs link,
//! certificates, and a user.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{buildah::ImageStore, run};

const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const PASSWD: &str =
    "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

/// Builds `localhost/base:1` with all libraries that `programs` link and that are not in `programs`.
pub(super) fn build(store: &ImageStore, dir: &Path, programs: &[PathBuf]) -> anyhow::Result<()> {
    let mut libraries = BTreeSet::new();
    for program in programs {
        libraries.extend(linked(program, programs)?);
    }
    for library in libraries {
        copy(&library, dir)?;
    }
    if Path::new(CERTIFICATES).exists() {
        copy(Path::new(CERTIFICATES), dir)?;
    }
    fs::create_dir_all(dir.join("etc"))?;
    fs::write(dir.join("etc/passwd"), PASSWD)?;
    fs::write(dir.join("etc/group"), GROUP)?;
    let recipe = dir.with_extension("Dockerfile");
    fs::write(&recipe, "FROM scratch\nCOPY . /\n")?;
    store.build(&recipe, dir, "base", &[])
}

/// The libraries of `program`, as the loader finds them here, without those in `bundled`.
fn linked(program: &Path, bundled: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program);
    run::find_libraries(&mut ldd);
    let output = String::from_utf8(run::output(ldd)?).context("read the output of ldd")?;
    let paths = output
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let names: Vec<_> = bundled.iter().filter_map(|path| path.file_name()).collect();
    let external = paths
        .map(PathBuf::from)
        .filter(|path| path.file_name().is_some_and(|name| !names.contains(&name)));
    Ok(external.collect())
}

/// Copies `file` to the same path below `dir`, following links.
fn copy(file: &Path, dir: &Path) -> anyhow::Result<()> {
    let target = dir.join(file.strip_prefix("/").context("an absolute path")?);
    fs::create_dir_all(target.parent().expect("it lies in a folder"))?;
    fs::copy(file, &target).with_context(|| format!("copy {}", file.display()))?;
    Ok(())
}
