//! The check of the locks at the service's start: a process puts them on, tries what they refuse, and says
//! what it could do.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::{TcpListener, UdpSocket},
    process::{ExitCode, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::kill,
    },
    unistd::getppid,
};
use prometheus::IntGaugeVec;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    locks::Lock,
    process::{OWN_EXECUTABLE, command},
};

/// First argument of this program when it is to check the locks. The names of some may follow: then only
/// these are put on.
pub(crate) const LOCK_CHECK_ARGUMENT: &str = "__statement_locks";
/// The longest that the service's start waits for the check.
const LOCK_CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// What the process found.
#[derive(Debug, Default, Serialize, Deserialize)]
struct LockReport {
    /// By lock, why it is not on; `None` when it is.
    locks: BTreeMap<String, Option<String>>,
    /// By attempt, the error that refused it; `None` when it was not refused.
    attempts: BTreeMap<String, Option<String>>,
}

/// Starts the process, sets `gauge` to the locks that hold, and says in the log what does not.
pub(crate) async fn check_locks(gauge: IntGaugeVec) {
    let report = match ask().await {
        Ok(report) => report,
        Err(error) => {
            warn!(
                error = format!("{error:#}"),
                "cannot check the locks of statements"
            );
            LockReport::default()
        }
    };
    for lock in Lock::ALL.map(Lock::name) {
        let missing = report.locks.get(lock).cloned();
        let missing = missing.unwrap_or_else(|| Some("it was not checked".to_owned()));
        gauge
            .with_label_values(&[lock])
            .set(missing.is_none().into());
        match missing {
            None => info!(lock, "lock the processes of statements"),
            Some(reason) => warn!(lock, reason, "statements run without a lock"),
        }
    }
    for (attempt, _) in report.attempts.iter().filter(|(_, error)| error.is_none()) {
        warn!(attempt, "no lock keeps the process of a statement from it");
    }
}

async fn ask() -> anyhow::Result<LockReport> {
    let mut check = tokio::process::Command::from(command(LOCK_CHECK_ARGUMENT));
    check.stdin(Stdio::null()).stderr(Stdio::null());
    let check = check.kill_on_drop(true).output();
    let output = tokio::time::timeout(LOCK_CHECK_TIMEOUT, check).await??;
    serde_json::from_slice(&output.stdout).context("read what it said")
}

/// Puts the locks on, tries everything, and writes a [`LockReport`] as JSON to stdout.
pub(crate) fn serve() -> ExitCode {
    let named: Vec<String> = env::args().skip(2).collect();
    let wanted = |lock: &Lock| named.is_empty() || named.iter().any(|name| name == lock.name());
    let applied = Lock::ALL.into_iter().filter(wanted).map(|lock| {
        let missing = lock.apply(None).err().map(|error| format!("{error:#}"));
        (lock.name().to_owned(), missing)
    });
    let locks = applied.collect();
    let attempts = ATTEMPTS.map(|(name, attempt)| {
        let refused = attempt().err().map(|error| reason(&error));
        (name.to_owned(), refused)
    });
    let attempts = attempts.into();
    let written = serde_json::to_vec(&LockReport { locks, attempts })
        .map_err(io::Error::from)
        .and_then(|report| io::stdout().write_all(&report));
    written.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// What code in the process might try, and how.
type Attempt = (&'static str, fn() -> io::Result<()>);

/// Without locks all of them succeed.
const ATTEMPTS: [Attempt; 9] = [
    ("open a socket", || {
        UdpSocket::bind(("127.0.0.1", 0)).map(drop)
    }),
    ("listen", || TcpListener::bind(("127.0.0.1", 0)).map(drop)),
    ("list a folder", || fs::read_dir("/").map(drop)),
    ("read a file", || File::open(OWN_EXECUTABLE).map(drop)),
    ("read the service's environment", || {
        File::open(format!("/proc/{}/environ", getppid())).map(drop)
    }),
    ("write a file", || {
        OpenOptions::new().write(true).open("/dev/null").map(drop)
    }),
    ("start a program", || {
        let mut program = command("--version");
        program.stdin(Stdio::inherit()).output().map(drop)
    }),
    ("signal the service", || Ok(kill(getppid(), None)?)),
    ("raise a limit", || {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?)
    }),
];

/// The name of the system's error, which says who refused.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => format!("{:?}", Errno::from_raw(code)),
        None => error.to_string(),
    }
}
