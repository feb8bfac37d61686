//! Builds the container image from programs and a base image that are made on this machine, without
//! a registry.

mod base;

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    buildah::{ImageStore, reference},
    process,
    run::{self, step},
    setup,
};

const PROGRAMS: [&str; 8] = [
    "archiver",
    "compactor",
    "executor",
    "hot-writer",
    "ingest",
    "isotherm",
    "operator",
    "query",
];
/// The one executable that contains all of them; the names are links to it.
const PROGRAM: &str = "isotherm-image";
const LIBRARY: &str = ".tools/duckdb/libduckdb.so";
/// Limit for the archive: a larger image makes the first pod on a node start too slowly.
const MAX_IMAGE_MB: u64 = 250;
/// The images of the servers of `profile: dev`, and their programs in `.tools/bin`.
const SERVERS: [(&str, &str); 3] = [
    ("nats", "nats-server"),
    ("valkey", "valkey-server"),
    ("seaweedfs", "weed"),
];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The cargo profile of the programs: `release`, or `image`, which builds faster and is larger.
    #[arg(long, default_value = "release")]
    profile: String,
    /// The archive to write, for `docker load`, `ctr images import` and others.
    #[arg(long, default_value = "target/isotherm-image.tar")]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    step("setup", setup::run)?;
    let scratch = Scratch::new()?;
    let output = run::root().join(&args.output);
    step("build the programs of the image", || {
        let mut build = run::cargo(&["build", "--locked", "--bins"]);
        build.args(["--profile", &args.profile, "-p", "image"]);
        run::check(build)
    })?;
    build(&scratch, &args.profile, &output)?;
    run::say(&format!(
        "{} is in {}",
        reference("isotherm"),
        output.display()
    ));
    Ok(())
}

/// Builds the image of the product, from programs in cargo's `dev` profile, and the images of the
/// servers that the chart's `profile: dev` starts. Returns their archives.
pub(crate) fn all(scratch: &Scratch) -> anyhow::Result<Vec<PathBuf>> {
    let archive = scratch.dir.join("isotherm.tar");
    build(scratch, "dev", &archive)?;
    let mut archives = vec![archive];
    for (name, program) in SERVERS {
        archives.push(build_server(scratch, name, program)?);
    }
    Ok(archives)
}

/// A folder for layers and archives, removed on drop.
#[derive(Debug)]
pub(crate) struct Scratch {
    dir: PathBuf,
    store: ImageStore,
}

impl Scratch {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("isotherm-image-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let store = ImageStore::new(&dir)?;
        Ok(Self { dir, store })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn build(scratch: &Scratch, profile: &str, archive: &Path) -> anyhow::Result<()> {
    let programs = scratch.dir.join("programs");
    copy_programs(&programs, profile)?;
    let linking = [
        programs.join("bin").join(PROGRAM),
        programs.join("lib/libduckdb.so"),
        run::root().join(".tools/bin/valkey-server"),
    ];
    step("build the image", || {
        base::build(&scratch.store, &scratch.dir.join("base"), &linking)?;
        let args = [
            "--build-context".to_owned(),
            format!("programs={}", programs.display()),
            "--build-arg".to_owned(),
            format!("BASE={}", reference("base")),
        ];
        let recipe = run::root().join("Dockerfile");
        // All files come from the build context `programs`; the main one is empty.
        let context = scratch.dir.join("empty");
        fs::create_dir_all(&context)?;
        scratch.store.build(&recipe, &context, "isotherm", &args)?;
        scratch.store.save("isotherm", archive)
    })?;
    report(archive)
}

/// Fills `programs` as the stage of that name in the Dockerfile would.
fn copy_programs(programs: &Path, profile: &str) -> anyhow::Result<()> {
    let built = match profile {
        "dev" => "debug",
        profile => profile,
    };
    let built = process::target_folder()?.join(built);
    install(&built.join(PROGRAM), &programs.join("bin"), 0o555)?;
    for name in PROGRAMS {
        symlink(PROGRAM, programs.join("bin").join(name))?;
    }
    install(&run::root().join(LIBRARY), &programs.join("lib"), 0o444)?;
    let mut strip = Command::new("strip");
    strip.args([
        programs.join("bin").join(PROGRAM),
        programs.join("lib/libduckdb.so"),
    ]);
    run::output(strip).map(drop)
}

fn install(file: &Path, dir: &Path, mode: u32) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    let target = dir.join(file.file_name().expect("a file has a name"));
    fs::copy(file, &target).with_context(|| format!("copy {}", file.display()))?;
    Ok(fs::set_permissions(
        target,
        fs::Permissions::from_mode(mode),
    )?)
}

fn build_server(scratch: &Scratch, name: &str, program: &str) -> anyhow::Result<PathBuf> {
    let context = scratch.dir.join(name);
    install(
        &run::root().join(".tools/bin").join(program),
        &context,
        0o555,
    )?;
    let recipe = scratch.dir.join(format!("{name}.Dockerfile"));
    fs::write(
        &recipe,
        format!(
            "FROM {}\nCOPY {program} /usr/local/bin/{program}\nUSER 65532:65532\n\
             ENTRYPOINT [\"/usr/local/bin/{program}\"]\n",
            reference("base")
        ),
    )?;
    let archive = scratch.dir.join(format!("{name}.tar"));
    scratch.store.build(&recipe, &context, name, &[])?;
    scratch.store.save(name, &archive)?;
    Ok(archive)
}

/// Prints the files and the size of the image; an error when they are not as expected.
fn report(archive: &Path) -> anyhow::Result<()> {
    let list = contents(archive)?;
    let megabytes = fs::metadata(archive)?.len() / 1_000_000;
    run::say(&format!("{}\n{megabytes} MB", list.join("\n")));
    let names = PROGRAMS.iter().chain([&PROGRAM]);
    let mut expected: Vec<_> = names.map(|name| format!("usr/local/bin/{name}")).collect();
    expected.sort();
    expected.push("usr/local/lib/libduckdb.so".to_owned());
    let actual: Vec<_> = list
        .iter()
        .filter(|path| path.starts_with("usr/local/"))
        .cloned()
        .collect();
    if actual != expected {
        bail!("the image has {actual:?} below usr/local, not {expected:?}");
    }
    ensure!(
        megabytes < MAX_IMAGE_MB,
        "the image has {megabytes} MB, {MAX_IMAGE_MB} are allowed"
    );
    Ok(())
}

/// The files of all layers, sorted by path.
fn contents(archive: &Path) -> anyhow::Result<Vec<String>> {
    let script = "import json,sys,tarfile\n\
        outer=tarfile.open(sys.argv[1])\n\
        for layer in json.load(outer.extractfile('manifest.json'))[0]['Layers']:\n\
        \x20for member in tarfile.open(fileobj=outer.extractfile(layer)):\n\
        \x20 if not member.isdir(): print(member.name)\n";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(archive);
    let output = String::from_utf8(run::output(python)?)?;
    let mut files: Vec<_> = output.lines().map(str::to_owned).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_has_the_same_programs() {
        let dockerfile = fs::read_to_string(run::root().join("Dockerfile")).unwrap();
        let line = format!("for program in {}; do", PROGRAMS.join(" "));
        assert!(dockerfile.contains(&line), "{line}");
    }
}
