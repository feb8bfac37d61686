//! What CI runs, in the order in which a mistake is found fastest.

use crate::{check, crdgen, layers, lengths, run::step, setup, test};

pub(crate) fn run() -> anyhow::Result<()> {
    lint()?;
    let summary = step("test", || test::all(&test::Args::default()))?;
    test::conclude(summary)
}

pub(crate) fn lint() -> anyhow::Result<()> {
    step("setup", setup::run)?;
    step("fmt", check::formatted)?;
    step("layers", layers::run)?;
    step("lengths", lengths::run)?;
    step("clippy", check::clippy)?;
    step("doc", check::docs)?;
    step("crdgen", crdgen::check)
}
