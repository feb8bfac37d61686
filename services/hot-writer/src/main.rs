use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    service_runtime::main(|| async { hot_writer::run(hot_writer::Args::parse()).await })
}
