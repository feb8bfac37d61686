use std::process::ExitCode;

use clap::Parser as _;

/// jemalloc, because batches are allocated and freed by the megabyte: it keeps the memory for the next batch,
/// where the system allocator returns it to the kernel.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    service_runtime::main(|| async { hot_writer::run(hot_writer::Args::parse()).await })
}
