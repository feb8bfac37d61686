use std::process::ExitCode;

use clap::Parser as _;

/// Batches of megabytes are allocated and freed all the time: jemalloc keeps their memory for reuse,
/// which the system's allocator returns to the kernel.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    service_runtime::main(|| async { compactor::run(compactor::Args::parse()).await })
}
