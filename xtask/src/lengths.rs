//! The limit on the length of a source file.

use anyhow::bail;

use crate::run;

/// Hard limit; CONTRIBUTING.md asks for 300.
const MAX_FILE_LINES: usize = 500;

pub(crate) fn run() -> anyhow::Result<()> {
    let mut too_long = Vec::new();
    for (file, text) in run::sources(&["*.rs"])? {
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
