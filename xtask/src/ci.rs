//! All checks of CI, the fast ones first.

use crate::{
    charts, check, crdgen, e2e, layers, lengths, minio,
    run::{say, step},
    setup,
    test::{self, Summary},
    vocabulary,
};

pub(crate) fn run() -> anyhow::Result<()> {
    let cluster = e2e::Args::default();
    // Said before the long steps, so that one can stop and install what is missing.
    if let Err(error) = e2e::require(&cluster) {
        say(&format!("warning: the scenarios will fail: {error:#}"));
    }
    lint()?;
    step("minio", minio::build)?;
    let args = test::Args {
        minio: true,
        ..test::Args::default()
    };
    // Both run to the end, even when the first fails.
    let tests = step("test", || test::all(&args)).unwrap_or_else(|e| Summary::of_failed_start(&e));
    let scenarios = step("e2e", || {
        e2e::require(&cluster)?;
        e2e::all(&cluster)
    });
    let scenarios = scenarios.unwrap_or_else(|e| Summary::of_failed_start(&e));
    test::conclude(tests.and(scenarios))
}

pub(crate) fn lint() -> anyhow::Result<()> {
    step("setup", setup::run)?;
    step("fmt", check::check_format)?;
    step("layers", layers::run)?;
    step("vocabulary", vocabulary::run)?;
    step("lengths", lengths::run)?;
    step("clippy", check::clippy)?;
    step("doc", check::docs)?;
    step("crdgen", crdgen::check)?;
    step("charts", || charts::run(&charts::Args::default()))
}
