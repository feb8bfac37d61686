//! Runs all tests and prints one line with the counts.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use anyhow::Context as _;

use crate::{
    minio::Minio,
    run::{self, step},
    setup,
};

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Run the cold tier's suite on MinIO too, which is built by Go the first time.
    #[arg(long)]
    pub(crate) minio: bool,
    /// Passed on to `cargo test --workspace`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) rest: Vec<String>,
}

/// The sum over all test binaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    passed: u64,
    failed: u64,
    /// Whether cargo exited with 0: a test binary can also crash, or not compile.
    success: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    step("setup", setup::run)?;
    conclude(all(args)?)
}

/// Builds the programs that the tests start, then runs every test. The tests are built in the same
/// call, so that cargo resolves the features of the dependencies once.
pub(crate) fn all(args: &Args) -> anyhow::Result<Summary> {
    let minio = args.minio.then(Minio::start).transpose()?;
    let features: &[&str] = match minio {
        Some(_) => &["--features", "cold-tier/external-s3"],
        None => &[],
    };
    let mut build = run::cargo(&["build", "--workspace", "--bins", "--tests"]);
    build.args(features);
    run::check(build)?;
    let mut command = run::cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.args(features).args(&args.rest);
    command.envs(minio.iter().flat_map(Minio::environment));
    run_and_count(command)
}

/// Runs a test runner to its end, prints its output, and counts the results.
pub(crate) fn run_and_count(mut command: Command) -> anyhow::Result<Summary> {
    command.stdout(Stdio::piped());
    let mut child = command.spawn().context("start the tests")?;
    let lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut summary = Summary::default();
    for line in lines.split(b'\n') {
        let line = line.context("read the output of the tests")?;
        let line = String::from_utf8_lossy(&line);
        writeln!(std::io::stdout(), "{line}").context("write to stdout")?;
        summary.add(&line);
    }
    summary.success = child.wait().context("wait for the tests")?.success();
    Ok(summary)
}

/// Prints the counts as the last line; exits with 1 when a test failed.
pub(crate) fn conclude(summary: Summary) -> anyhow::Result<()> {
    let Summary { passed, failed, .. } = summary;
    if !summary.success && failed == 0 {
        run::say("error: a test binary did not compile or did not end by itself");
    }
    writeln!(std::io::stdout(), "{passed} passed, {failed} failed").context("write to stdout")?;
    if summary.success && failed == 0 {
        return Ok(());
    }
    std::process::exit(1)
}

impl Summary {
    /// One failure, for tests that could not be started.
    pub(crate) fn of_failed_start(error: &anyhow::Error) -> Self {
        run::say(&format!("error: {error:#}"));
        Self {
            failed: 1,
            ..Self::default()
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            success: self.success && other.success,
        }
    }

    /// Adds a line like `test result: ok. 22 passed; 1 failed; …`; ignores every other line.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_binaries_are_summed() {
        let mut summary = Summary::default();
        for line in [
            "running 3 tests",
            "test result: ok. 22 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.12s",
            "test result: ok, says a test",
            "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            summary.add(line);
        }
        assert_eq!((summary.passed, summary.failed), (25, 2));
    }
}
