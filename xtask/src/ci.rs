//! What CI runs, in the order in which a mistake is found fastest.

use crate::{
    charts, check, crdgen, e2e, layers, lengths, minio,
    run::step,
    setup,
    test::{self, Summary},
};

pub(crate) fn run() -> anyhow::Result<()> {
    let cluster = e2e::Args::default();
    step("look at the machine", || e2e::require(&cluster))?;
    lint()?;
    step("minio", minio::build)?;
    let args = test::Args {
        minio: true,
        ..test::Args::default()
    };
    // Whatever one says, the other is worth knowing.
    let tests = step("test", || test::all(&args)).unwrap_or_else(|e| Summary::of_nothing(&e));
    let scenarios = step("e2e", || e2e::all(&cluster)).unwrap_or_else(|e| Summary::of_nothing(&e));
    test::conclude(tests.and(scenarios))
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
