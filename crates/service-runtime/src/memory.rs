//! A bound for what the process may allocate, held by the kernel: the last line behind every budget
//! of our own.

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets no allocation take the process above `bytes` of private memory. An allocation beyond that
/// fails: a library may make an error of it, anything else ends the process, and not the machine.
/// What was inherited from a parent that bound itself does not count; a hard limit does.
pub fn bound_memory(bytes: u64) -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_DATA).context("read the memory bound")?;
    setrlimit(Resource::RLIMIT_DATA, bytes.min(hard), hard).context("set the memory bound")
}
