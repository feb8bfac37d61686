//! What CI runs, in the order in which a mistake is found fastest.

use crate::{charts, check, crdgen, layers, lengths, minio, run::step, setup, test};

pub(crate) fn run() -> anyhow::Result<()> {
    lint()?;
    step("minio", minio::build)?;
    let args = test::Args {
        minio: true,
        ..test::Args::default()
    };
    let summary = step("test", || test::all(&args))?;
    test::conclude(summary)
}

pub(crate) fn lint() -> anyhow::Result<()> {
    step("setup", setup::run)?;
    step("fmt", check::formatted)?;
    step("layers", layers::run)?;
    step("lengths", lengths::run)?;
    step("clippy", check::clippy)?;
    step("doc", check::docs)?;
    step("crdgen", crdgen::check)?;
    step("charts", || charts::run(&charts::Args::default()))
}
