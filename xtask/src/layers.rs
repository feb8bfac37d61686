//! Checks the architecture: which package may link which, by `cargo metadata` (`deny.toml` has the
//! same rules for cargo-deny), and that the modules of a package do not use each other in a circle.

use anyhow::{Context as _, bail};

use crate::run;

mod circles;
mod metadata;
mod rules;

use circles::Module;
use metadata::Metadata;

pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = run::cargo(&[
        "metadata",
        "--format-version=1",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]);
    let metadata = run::output(metadata)?;
    let metadata = Metadata::parse(&metadata).context("read cargo metadata")?;
    let mut violations = rules::violations(&metadata);
    violations.extend(circles::violations(&modules()?));
    if !violations.is_empty() {
        bail!("the layers are broken:\n{}", violations.join("\n"));
    }
    Ok(())
}

/// The modules of all packages, without those of tests.
fn modules() -> anyhow::Result<Vec<Module>> {
    let module = |(file, text): (String, String)| {
        let (krate, path) = file.split_once("/src/")?;
        let path = path.strip_suffix(".rs")?;
        if path.ends_with("tests") || path.contains("tests/") {
            return None;
        }
        // Unit tests may use any module.
        let text = text.split("#[cfg(test)]").next()?.to_owned();
        let path = match path {
            "lib" | "main" => String::new(),
            path => path.to_owned(),
        };
        let krate = krate.to_owned();
        Some(Module { krate, path, text })
    };
    let sources = run::sources(&["*.rs"])?;
    Ok(sources.into_iter().filter_map(module).collect())
}
