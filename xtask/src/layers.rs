//! Who may link what: the architecture, checked against `cargo metadata`. `deny.toml` says the
//! same to cargo-deny.

use anyhow::{Context as _, bail};

use crate::run;

mod metadata;
mod rules;

use metadata::Metadata;

pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = run::cargo(&[
        "metadata",
        "--format-version=1",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]);
    let metadata = run::output(metadata)?;
    let metadata = Metadata::parse(&metadata).context("read cargo metadata")?;
    let violations = rules::violations(&metadata);
    if !violations.is_empty() {
        bail!("the layers are broken:\n{}", violations.join("\n"));
    }
    Ok(())
}
