//! Runs other programs from the root of the workspace, and reports how long a step took.

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, bail};

/// The root of the workspace, independent of the current directory.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .expect("xtask lies in the workspace")
        .to_owned()
}

/// A command for the cargo that started this program, in the root of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root());
    remove_own_package_variables(&mut command);
    find_libraries(&mut command);
    command
}

/// Removes the variables that `cargo xtask` sets about the package `xtask`. Build scripts read them,
/// and would rebuild what a plain `cargo build` has built without them.
fn remove_own_package_variables(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// Lets the program of `command` find the libraries in `.tools/` wherever the target directory is;
/// the rpath has the default place only.
pub(crate) fn find_libraries(command: &mut Command) {
    let own = root().join(".tools/duckdb");
    let inherited = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let inherited = std::env::split_paths(&inherited).filter(|path| !path.as_os_str().is_empty());
    let paths = std::iter::once(own).chain(inherited);
    // Fails only for a path with a colon in it; the rpath is the fallback.
    if let Ok(paths) = std::env::join_paths(paths) {
        command.env("LD_LIBRARY_PATH", paths);
    }
}

/// Runs `command` to its end; an exit code other than 0 is an error that shows the command.
pub(crate) fn check(mut command: Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {}", shown(&command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(&command));
    }
    Ok(())
}

/// Runs `command` and returns its stdout; on failure the error has its stderr.
pub(crate) fn output(mut command: Command) -> anyhow::Result<Vec<u8>> {
    let output = command
        .output()
        .with_context(|| format!("start {}", shown(&command)))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}\n{}",
            shown(&command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

/// The command line, without the path of the program.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs one named step and reports it with its time.
pub(crate) fn step<T>(name: &str, run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    say(&format!("== {name}"));
    let started = Instant::now();
    let result = run();
    let outcome = if result.is_ok() { "ok" } else { "FAILED" };
    let seconds = started.elapsed().as_secs_f64();
    say(&format!("== {name}: {outcome} in {seconds:.1} s"));
    result.with_context(|| format!("step {name}"))
}

/// Prints a progress line to stderr; stdout is for results.
pub(crate) fn say(line: &str) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The files of the working tree whose names match one of the git `patterns`, as path and text: tracked ones
/// and those that will be, but none that git ignores.
pub(crate) fn sources(patterns: &[&str]) -> anyhow::Result<Vec<(String, String)>> {
    let mut git = Command::new("git");
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ])
    .args(patterns)
    .current_dir(root());
    let listed = String::from_utf8(output(git).context("list the sources")?);
    let listed = listed.context("read the list of sources")?;
    let read = |path: &str| {
        // A deleted file is still listed until the deletion is committed.
        let text = std::fs::read_to_string(root().join(path)).ok()?;
        Some((path.to_owned(), text))
    };
    Ok(listed.split_terminator('\0').filter_map(read).collect())
}
