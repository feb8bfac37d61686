use std::process::ExitCode;

use clap::Parser as _;

/// jemalloc, because bodies are allocated and freed by the megabyte: it keeps the memory for the next body,
/// where the system allocator returns it to the kernel.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    service_runtime::main(|| async { ingest::run(ingest::Args::parse()).await })
}
