//! The checks that are cargo subcommands.

use anyhow::Context as _;

use crate::run;

pub(crate) fn format() -> anyhow::Result<()> {
    run::check(run::cargo(&["fmt", "--all"]))
}

pub(crate) fn check_format() -> anyhow::Result<()> {
    run::check(run::cargo(&["fmt", "--all", "--check"])).context("run cargo xtask fmt")
}

pub(crate) fn clippy() -> anyhow::Result<()> {
    run::check(run::cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        // With these features, all tests are compiled.
        "--features",
        "e2e/cluster,cold-tier/external-s3",
        "--",
        "-D",
        "warnings",
    ]))
}

pub(crate) fn docs() -> anyhow::Result<()> {
    let mut command = run::cargo(&["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run::check(command)
}
