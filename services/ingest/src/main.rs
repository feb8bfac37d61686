use std::process::ExitCode;

use clap::Parser as _;

/// Batches come and go by the megabyte: it keeps their memory, which the usual one gives back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    service_runtime::main(|| async { ingest::run(ingest::Args::parse()).await })
}
