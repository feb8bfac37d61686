//! The limit on the length of a source file.

use anyhow::{Context as _, bail};

use crate::run;

/// Hard limit; CONTRIBUTING.md asks for 300.
const MAX_FILE_LINES: usize = 500;

pub(crate) fn run() -> anyhow::Result<()> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "-z", "*.rs"])
        .current_dir(run::root());
    let listed = run::output(git).context("list the tracked files")?;
    let listed = String::from_utf8(listed).context("read the list of tracked files")?;
    let mut too_long = Vec::new();
    for file in listed.split_terminator('\0') {
        // A deleted file is still listed until the deletion is committed.
        let Ok(text) = std::fs::read_to_string(run::root().join(file)) else {
            continue;
        };
        let lines = text.lines().count();
        if lines > MAX_FILE_LINES {
            too_long.push(format!(
                "{file} has {lines} lines, {MAX_FILE_LINES} are allowed: split it"
            ));
        }
    }
    if !too_long.is_empty() {
        bail!("{}", too_long.join("\n"));
    }
    Ok(())
}
