//! The locks on a statement's process: what it could not do even if a statement made it run code of its
//! own. Each holds by itself, and all are on before anything of the statement is read.
//!
//! | lock | what it takes from the process |
//! |---|---|
//! | `landlock` | every path but those beneath the data folder, and there everything but reading; TCP, signals to others |
//! | `rlimits` | bytes in files, very many open files, core dumps |
//! | `seccomp` | every system call that a computation does not need |

mod syscalls;

use std::path::Path;

use anyhow::{Context as _, ensure};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetStatus, Scope, path_beneath_rules,
};
use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};

/// Open files of the process: slices, of which partitions have dozens.
const MAX_OPEN_FILES: u64 = 16_384;
/// The newest Landlock whose rights were considered; of an older one the kernel has those that it knows.
const LANDLOCK_ABI: ABI = ABI::V6;

/// A lock on a statement's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    Landlock,
    Rlimits,
    Seccomp,
}

impl Lock {
    /// All locks, in the order in which they must be put on: Landlock opens a file, and seccomp refuses the
    /// others.
    pub(crate) const ALL: [Self; 3] = [Self::Landlock, Self::Rlimits, Self::Seccomp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Landlock => "landlock",
            Self::Rlimits => "rlimits",
            Self::Seccomp => "seccomp",
        }
    }

    /// Puts the lock on this process, for good: it reads what lies beneath `folder`. There must be one thread only.
    ///
    /// # Errors
    ///
    /// The kernel does not have it.
    pub(crate) fn apply(self, folder: Option<&Path>) -> anyhow::Result<()> {
        match self {
            Self::Landlock => close_paths(folder),
            Self::Rlimits => limit_resources(),
            Self::Seccomp => syscalls::restrict(),
        }
    }
}

/// Limits a resource of this process, for good.
pub(crate) fn limit(resource: Resource, value: u64) -> anyhow::Result<()> {
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

fn close_paths(folder: Option<&Path>) -> anyhow::Result<()> {
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let closed = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
        .scope(Scope::from_all(LANDLOCK_ABI))?
        .create()?
        .add_rules(path_beneath_rules(folder, reading))?
        .restrict_self()?;
    ensure!(
        closed.ruleset != RulesetStatus::NotEnforced,
        "the kernel has no Landlock"
    );
    Ok(())
}
