//! The locks on a statement's process: what it could not do even if a statement made it run code of its
//! own. Each holds by itself, and all are on before anything of the statement is read.
//!
//! | lock | what it takes from the process |
//! |---|---|
//! | `landlock` | every path, TCP, signals to others |
//! | `rlimits` | new files and sockets, bytes in files, core dumps |
//! | `seccomp` | every system call that a computation does not need |

mod syscalls;

use anyhow::{Context as _, ensure};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetStatus, Scope,
};
use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};

/// Open files of the process: stdin, stdout and stderr, which it has from its start.
const MAX_OPEN_FILES: u64 = 3;
/// The newest Landlock whose rights were considered; of an older one the kernel has those that it knows.
const LANDLOCK_ABI: ABI = ABI::V6;

/// A lock on a statement's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    Landlock,
    Rlimits,
    Seccomp,
}

impl Lock {
    /// All locks, in the order in which they must be put on: Landlock opens a file, and seccomp refuses the
    /// others.
    pub(super) const ALL: [Self; 3] = [Self::Landlock, Self::Rlimits, Self::Seccomp];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Landlock => "landlock",
            Self::Rlimits => "rlimits",
            Self::Seccomp => "seccomp",
        }
    }

    /// Puts the lock on this process, for good. There must be one thread only.
    ///
    /// # Errors
    ///
    /// The kernel does not have it.
    pub(super) fn apply(self) -> anyhow::Result<()> {
        match self {
            Self::Landlock => close_paths(),
            Self::Rlimits => limit_resources(),
            Self::Seccomp => syscalls::restrict(),
        }
    }
}

/// Limits a resource of this process, for good.
pub(super) fn limit(resource: Resource, value: u64) -> anyhow::Result<()> {
    let (_, hard) = getrlimit(resource).context("read a limit")?;
    let value = value.min(hard);
    setrlimit(resource, value, value).context("set a limit")
}

fn limit_resources() -> anyhow::Result<()> {
    limit(Resource::RLIMIT_NOFILE, MAX_OPEN_FILES)?;
    limit(Resource::RLIMIT_FSIZE, 0)?;
    limit(Resource::RLIMIT_CORE, 0)?;
    // A program that takes core dumps from a pipe gets them whatever the limit is.
    prctl::set_dumpable(false).context("refuse core dumps")
}

fn close_paths() -> anyhow::Result<()> {
    let closed = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
        .scope(Scope::from_all(LANDLOCK_ABI))?
        .create()?
        .restrict_self()?;
    ensure!(
        closed.ruleset != RulesetStatus::NotEnforced,
        "the kernel has no Landlock"
    );
    Ok(())
}
