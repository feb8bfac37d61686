use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    service_runtime::main(|| async { operator::run(operator::Args::parse()).await })
}
