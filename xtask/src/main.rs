mod bench;
mod buildah;
mod charts;
mod check;
mod ci;
mod crdgen;
mod demo;
mod e2e;
mod image;
mod layers;
mod lengths;
mod minio;
mod process;
mod run;
mod setup;
mod test;
mod vocabulary;

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
    /// Measure the rate at which events are stored, compared with one XADD per event.
    Bench(bench::Args),
    /// Lint, render and validate the charts, with Helm 3 and 4, for every supported Kubernetes.
    Charts(charts::Args),
    /// Build the image with all programs on this machine, without Docker and without a registry.
    Image(image::Args),
    /// Run the scenarios on a real Kubernetes: the one of $KUBECONFIG, kind, or one started here.
    E2e(e2e::Args),
    /// Run as the first process (PID 1) of a cluster node.
    #[command(hide = true)]
    Node(e2e::node::Args),
    /// Run everything that must pass before a merge.
    Ci,
    /// Write the custom resource definition from the types in crates/k8s-api.
    Crdgen(crdgen::Args),
    /// Check which package may link which, and that modules have no circles.
    Layers,
    /// Check the words: no banned word, and the same terms in the glossary and in the code.
    Vocabulary,
    /// Format the sources.
    Fmt,
    /// Formatting, clippy, docs, layers, words, file lengths and generated files, without the tests.
    Lint,
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Setup => setup::run(),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Charts(args) => charts::run(&args),
        Command::Image(args) => image::run(&args),
        Command::E2e(args) => e2e::run(&args),
        Command::Node(args) => e2e::node::run(&args),
        Command::Ci => ci::run(),
        Command::Crdgen(args) => crdgen::run(&args),
        Command::Layers => layers::run(),
        Command::Vocabulary => vocabulary::run(),
        Command::Fmt => check::format(),
        Command::Lint => ci::lint(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr leaves no other place to report to.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
