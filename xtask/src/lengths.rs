//! No source file is longer than a person can hold in mind.

use anyhow::{Context as _, bail};

use crate::run;

/// The wall; the aim is 300.
const LIMIT: usize = 500;

pub(crate) fn run() -> anyhow::Result<()> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "-z", "*.rs"])
        .current_dir(run::root());
    let listed = run::output(git).context("list the tracked files")?;
    let listed = String::from_utf8(listed).context("read the list of tracked files")?;
    let mut too_long = Vec::new();
    for file in listed.split_terminator('\0') {
        // A file that was deleted but not committed yet is no file.
        let Ok(text) = std::fs::read_to_string(run::root().join(file)) else {
            continue;
        };
        let lines = text.lines().count();
        if lines > LIMIT {
            too_long.push(format!(
                "{file} has {lines} lines, {LIMIT} are allowed: split it"
            ));
        }
    }
    if !too_long.is_empty() {
        bail!("{}", too_long.join("\n"));
    }
    Ok(())
}
