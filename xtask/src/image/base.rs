//! What a program needs around it, from this machine: the loader, the C libraries that it links,
//! certificates, and a name for the user.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{e2e::buildah::Store, run};

const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const PASSWD: &str =
    "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

/// Makes `localhost/base:1`, with what `programs` link besides each other.
pub(super) fn build(store: &Store, dir: &Path, programs: &[PathBuf]) -> anyhow::Result<()> {
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

/// The libraries of `program`, as the loader finds them here, less those that come along.
fn linked(program: &Path, along: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program);
    run::find_libraries(&mut ldd);
    let output = String::from_utf8(run::output(ldd)?).context("read what ldd says")?;
    let paths = output
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let names: Vec<_> = along.iter().filter_map(|path| path.file_name()).collect();
    let theirs = paths
        .map(PathBuf::from)
        .filter(|path| path.file_name().is_some_and(|name| !names.contains(&name)));
    Ok(theirs.collect())
}

/// To the same place below `dir`; a link becomes the file.
fn copy(file: &Path, dir: &Path) -> anyhow::Result<()> {
    let target = dir.join(file.strip_prefix("/").context("an absolute path")?);
    fs::create_dir_all(target.parent().expect("it lies in a folder"))?;
    fs::copy(file, &target).with_context(|| format!("copy {}", file.display()))?;
    Ok(())
}
