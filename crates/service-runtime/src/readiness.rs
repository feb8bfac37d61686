//! Whether the process wants traffic: started, not draining, and every named check well.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard},
};

/// The readiness of one process. Cheap to clone; starts as not ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    checks: BTreeMap<&'static str, Outcome>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Started,
    Draining,
}

#[derive(Debug)]
struct Outcome {
    ok: bool,
    detail: String,
}

/// One named reason to be ready or not. Fails until it is set.
#[derive(Clone, Debug)]
pub struct Check {
    readiness: Readiness,
    name: &'static str,
}

impl Check {
    /// `detail` is shown to people who ask for the verbose answer.
    pub fn set(&self, ok: bool, detail: impl Into<String>) {
        let detail = detail.into();
        let previous = self
            .readiness
            .lock()
            .checks
            .insert(self.name, Outcome { ok, detail });
        if previous.is_none_or(|previous| previous.ok != ok) {
            tracing::info!(check = self.name, ok, "readiness check changed");
        }
    }
}

impl Readiness {
    /// The check called `name`. Asking twice gives the same one.
    pub fn check(&self, name: &'static str) -> Check {
        self.lock().checks.entry(name).or_insert_with(|| Outcome {
            ok: false,
            detail: "not checked yet".into(),
        });
        Check {
            readiness: self.clone(),
            name,
        }
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.report().0
    }

    pub(crate) fn started(&self) {
        self.lock().phase = Phase::Started;
    }

    pub(crate) fn draining(&self) {
        self.lock().phase = Phase::Draining;
    }

    /// Whether ready, and a line per check in the form that `kubectl get --raw` has made usual.
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
            .map(|(name, outcome)| (*name, outcome.ok, outcome.detail.as_str()));
        let mut ready = true;
        let mut lines = String::new();
        for (name, ok, detail) in std::iter::once(("started", phase.0, phase.1)).chain(checks) {
            ready &= ok;
            let (mark, word) = if ok { ('+', "ok") } else { ('-', "failed") };
            let colon = if detail.is_empty() { "" } else { ": " };
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "[{mark}]{name} {word}{colon}{detail}");
        }
        let verdict = if ready { "passed" } else { "failed" };
        let _ = writeln!(lines, "readyz check {verdict}");
        (ready, lines)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_it_has_started_and_every_check_is_well() {
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
