//! Running other programs from the root of the workspace, and saying how long a step took.

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, bail};

/// The root of the workspace, wherever this was called from.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .expect("xtask lies in the workspace")
        .to_owned()
}

/// The cargo that started this program, in the root of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root());
    forget_ourselves(&mut command);
    find_libraries(&mut command);
    command
}

/// Takes away what the cargo that runs us says of our own package: build scripts look at it, and
/// would build again what a cargo that was typed has built.
fn forget_ourselves(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// What `command` runs finds the libraries of `.tools/` wherever the target directory is; the
/// rpath knows the usual place only.
pub(crate) fn find_libraries(command: &mut Command) {
    let ours = root().join(".tools/duckdb");
    let theirs = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let theirs = std::env::split_paths(&theirs).filter(|path| !path.as_os_str().is_empty());
    let paths = std::iter::once(ours).chain(theirs);
    // It can only fail for a path with a colon in it, and then the rpath still helps.
    if let Ok(paths) = std::env::join_paths(paths) {
        command.env("LD_LIBRARY_PATH", paths);
    }
}

/// Runs `command` to its end; anything but success is an error that shows the command.
pub(crate) fn check(mut command: Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {}", shown(&command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(&command));
    }
    Ok(())
}

/// What `command` writes to stdout.
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

/// The command as a person would type it, less the path of the program.
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
    let verdict = if result.is_ok() { "ok" } else { "FAILED" };
    let seconds = started.elapsed().as_secs_f64();
    say(&format!("== {name}: {verdict} in {seconds:.1} s"));
    result.with_context(|| format!("step {name}"))
}

/// A line for the person who waits, out of the way of what a program prints.
pub(crate) fn say(line: &str) {
    // Progress is not worth failing for.
    let _ = writeln!(std::io::stderr(), "{line}");
}
