//! Dying with the parent, for a service that another program of ours started.

use anyhow::bail;

/// Asks the kernel to kill this process when its parent ends. `parent` is the expected parent,
/// or 0 for whoever it is now.
///
/// The kernel watches the *thread* that started us: a program that starts services keeps that
/// thread for as long as they shall live.
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
    // The parent may have died before the line above.
    if getppid().as_raw() != expected {
        bail!("the parent process is gone");
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub fn die_with(_parent: i32) -> anyhow::Result<()> {
    bail!("--die-with-parent works on Linux only");
}
