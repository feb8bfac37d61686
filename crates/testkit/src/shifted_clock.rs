//! A wall clock that is wrong, for our own programs.

use std::{fs, process::Command, time::Duration};

use tempfile::TempDir;

/// Shifts every reading of the wall clock; the monotonic clocks stay as they are.
const SOURCE: &str = r#"
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *to) {
    int result = syscall(SYS_clock_gettime, id, to);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) to->tv_sec += AHEAD;
    return result;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *to, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    to->tv_sec = now.tv_sec;
    to->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"#;

/// A library that makes the programs that load it see a wall clock that is ahead. Servers that are
/// linked statically, as NATS is, do not load it.
#[derive(Debug)]
pub struct ShiftedClock(TempDir);

impl ShiftedClock {
    /// Compiles the library for a clock that is `ahead`.
    ///
    /// # Panics
    /// When there is no C compiler, which linking Rust programs needs too.
    #[must_use]
    pub fn ahead(ahead: Duration) -> Self {
        let dir = TempDir::new().unwrap();
        let source = dir.path().join("clock.c");
        fs::write(&source, SOURCE).unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(dir.path().join("clock.so"))
            .arg(format!("-DAHEAD={}", ahead.as_secs()))
            .arg(&source)
            .status()
            .expect("cc starts");
        assert!(compiled.success(), "cc: {compiled}");
        Self(dir)
    }

    /// The environment of a program that sees this clock, for [`crate::Service::start_with`].
    #[must_use]
    pub fn env(&self) -> (&'static str, String) {
        let library = self.0.path().join("clock.so");
        ("LD_PRELOAD", library.display().to_string())
    }
}
