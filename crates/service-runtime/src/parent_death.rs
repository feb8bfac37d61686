//! The parent-death signal, for a service that another program of ours started.

use anyhow::bail;

/// Asks the kernel to send SIGKILL to this process when its parent ends (`PR_SET_PDEATHSIG`). `parent` is
/// the process id of the expected parent, or 0 for the current one.
///
/// The signal is sent when the *thread* that started this process ends, so a program that starts services
/// must keep that thread alive.
///
/// # Errors
/// The parent has ended already, or the platform is not Linux: end this process.
#[cfg(target_os = "linux")]
pub fn die_with(parent: i32) -> anyhow::Result<()> {
    use nix::{
        sys::{prctl::set_pdeathsig, signal::Signal},
        unistd::getppid,
    };

    let expected = if parent == 0 {
        getppid().as_raw()
    } else {
        parent
    };
    set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have ended before the signal was set.
    if getppid().as_raw() != expected {
        bail!("the parent process is gone");
    }
    Ok(())
}

/// Fails, because the parent-death signal exists on Linux only.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn die_with(_parent: i32) -> anyhow::Result<()> {
    bail!("--die-with-parent works on Linux only");
}
