//! What CI runs, in the order in which a mistake is found fastest.

use crate::{
    charts, check, crdgen, e2e, layers, lengths, minio,
    run::{say, step},
    setup,
    test::{self, Summary},
    vocabulary,
};

pub(crate) fn run() -> anyhow::Result<()> {
    let cluster = e2e::Args::default();
    // In time to stop it and to install what is missing.
    if let Err(error) = e2e::require(&cluster) {
        say(&format!("warning: the scenarios will fail: {error:#}"));
    }
    lint()?;
    step("minio", minio::build)?;
    let args = test::Args {
        minio: true,
        ..test::Args::default()
    };
    // Whatever one says, the other is worth knowing.
    let tests = step("test", || test::all(&args)).unwrap_or_else(|e| Summary::of_nothing(&e));
    let scenarios = step("e2e", || {
        e2e::require(&cluster)?;
        e2e::all(&cluster)
    });
    let scenarios = scenarios.unwrap_or_else(|e| Summary::of_nothing(&e));
    test::conclude(tests.and(scenarios))
}

pub(crate) fn lint() -> anyhow::Result<()> {
    step("setup", setup::run)?;
    step("fmt", check::formatted)?;
    step("layers", layers::run)?;
    step("vocabulary", vocabulary::run)?;
    step("lengths", lengths::run)?;
    step("clippy", check::clippy)?;
    step("doc", check::docs)?;
    step("crdgen", crdgen::check)?;
    step("charts", || charts::run(&charts::Args::default()))
}
