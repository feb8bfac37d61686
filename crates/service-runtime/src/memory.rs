//! A memory limit for the process, enforced by the kernel: the last resort behind our own budgets.

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Limits the private memory of the process to `bytes` (`RLIMIT_DATA`). An allocation beyond it fails: a
/// library may return an error, otherwise the process aborts, rather than the machine running out of
/// memory. Replaces a soft limit that was inherited from the parent; a hard limit still applies.
///
/// # Errors
/// The kernel refuses to read or set the limit.
pub fn bound_memory(bytes: u64) -> anyhow::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_DATA).context("read the memory bound")?;
    setrlimit(Resource::RLIMIT_DATA, bytes.min(hard), hard).context("set the memory bound")
}
