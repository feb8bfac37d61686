mod bench;
mod check;
mod ci;
mod crdgen;
mod demo;
mod layers;
mod lengths;
mod process;
mod run;
mod setup;
mod test;

use std::{io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand};

/// The tasks of the repository. CI calls these and nothing else.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install the servers and libraries that the product needs into .tools/.
    Setup,
    /// Set up, build, and show events moving from hot to warm to cold.
    Demo(demo::Args),
    /// Set up, build every program, and run every test.
    Test(test::Args),
    /// Measure how fast events go in, against one XADD per event.
    Bench(bench::Args),
    /// Everything that must be green before a merge.
    Ci,
    /// Write the custom resource definition from the types in crates/k8s-api.
    Crdgen(crdgen::Args),
    /// Check who links what.
    Layers,
    /// Format the sources.
    Fmt,
    /// Formatting, clippy, docs, layers, file lengths and generated files, without the tests.
    Lint,
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Setup => setup::run(),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Ci => ci::run(),
        Command::Crdgen(args) => crdgen::run(&args),
        Command::Layers => layers::run(),
        Command::Fmt => check::format(),
        Command::Lint => ci::lint(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
