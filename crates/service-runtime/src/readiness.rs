//! Readiness: a process is ready when it has started, is not draining, and every named check passes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard},
};

/// The readiness of one process. Cheap to clone; starts as not ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<ReadinessState>>);

#[derive(Debug, Default)]
struct ReadinessState {
    phase: Phase,
    checks: BTreeMap<&'static str, CheckResult>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Started,
    Draining,
}

#[derive(Debug)]
struct CheckResult {
    ok: bool,
    detail: String,
}

/// One named readiness check. Fails until it is set.
#[derive(Clone, Debug)]
pub struct Check {
    readiness: Readiness,
    name: &'static str,
}

impl Check {
    /// Sets the result of the check. `detail` is shown in the verbose report; logs every change of `ok`.
    pub fn set(&self, ok: bool, detail: impl Into<String>) {
        let detail = detail.into();
        let previous = self
            .readiness
            .lock()
            .checks
            .insert(self.name, CheckResult { ok, detail });
        if previous.is_none_or(|previous| previous.ok != ok) {
            tracing::info!(check = self.name, ok, "readiness check changed");
        }
    }
}

impl Readiness {
    /// Returns the check called `name`, registering it at the first call.
    pub fn check(&self, name: &'static str) -> Check {
        self.lock()
            .checks
            .entry(name)
            .or_insert_with(|| CheckResult {
                ok: false,
                detail: "not checked yet".into(),
            });
        Check {
            readiness: self.clone(),
            name,
        }
    }

    /// Returns whether the process is ready for traffic.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.report().0
    }

    /// Records that the process has started.
    pub(crate) fn started(&self) {
        self.lock().phase = Phase::Started;
    }

    /// Records that the process drains: it is not ready any more.
    pub(crate) fn draining(&self) {
        self.lock().phase = Phase::Draining;
    }

    /// Returns whether the process is ready, and a report with a line per check in the format of
    /// Kubernetes' own `/readyz?verbose`.
    pub(crate) fn report(&self) -> (bool, String) {
        let state = self.lock();
        let phase = match state.phase {
            Phase::Starting => (false, "starting"),
            Phase::Started => (true, ""),
            Phase::Draining => (false, "draining"),
        };
        let checks = state
            .checks
            .iter()
            .map(|(name, result)| (*name, result.ok, result.detail.as_str()));
        let mut ready = true;
        let mut lines = String::new();
        for (name, ok, detail) in std::iter::once(("started", phase.0, phase.1)).chain(checks) {
            ready &= ok;
            let (mark, status) = if ok { ('+', "ok") } else { ('-', "failed") };
            let colon = if detail.is_empty() { "" } else { ": " };
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "[{mark}]{name} {status}{colon}{detail}");
        }
        let summary = if ready { "passed" } else { "failed" };
        let _ = writeln!(lines, "readyz check {summary}");
        (ready, lines)
    }

    fn lock(&self) -> MutexGuard<'_, ReadinessState> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_it_has_started_and_every_check_passes() {
        let readiness = Readiness::default();
        let (nats, redis) = (readiness.check("nats"), readiness.check("redis"));
        assert!(!readiness.is_ready());

        nats.set(true, "");
        redis.set(true, "");
        assert!(!readiness.is_ready());

        readiness.started();
        assert!(readiness.is_ready());

        redis.set(false, "connection refused");
        assert!(!readiness.is_ready());

        redis.set(true, "");
        readiness.draining();
        assert!(!readiness.is_ready());
    }

    #[test]
    fn the_report_names_every_check() {
        let readiness = Readiness::default();
        readiness.started();
        readiness.check("nats").set(true, "127.0.0.1:4222");
        readiness.check("redis");

        let (ready, report) = readiness.report();

        assert!(!ready);
        assert_eq!(
            report,
            "[+]started ok\n[+]nats ok: 127.0.0.1:4222\n[-]redis failed: not checked yet\n\
             readyz check failed\n"
        );
    }
}
