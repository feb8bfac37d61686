//! The parts of a service that are halted until a person acts, as a detail of a readiness check and
//! as a gauge.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use prometheus::{IntGauge, Registry};

use crate::{
    metrics::gauge_vec,
    readiness::{Check, Readiness},
};

/// The halted parts of one process. Cheap to clone.
///
/// The check passes whatever is halted: the other parts work, and a process that is not ready would
/// be cut off from its clients.
#[derive(Clone, Debug)]
pub struct Halts {
    check: Check,
    gauge: IntGauge,
    halted: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Halts {
    /// Registers the check `halted` and the gauge `consumer_halted_partitions{consumer}`.
    ///
    /// # Errors
    /// The gauge is registered already: a bug, fail the start.
    pub fn register(
        readiness: &Readiness,
        registry: &Registry,
        consumer: &str,
    ) -> prometheus::Result<Self> {
        let gauges = gauge_vec(
            registry,
            "consumer_halted_partitions",
            "Partitions whose consumer has stopped until a person acts; /readyz?verbose says why.",
            &["consumer"],
        )?;
        let check = readiness.check("halted");
        check.set(true, "");
        Ok(Self {
            check,
            gauge: gauges.with_label_values(&[consumer]),
            halted: Arc::default(),
        })
    }

    /// Records that `part` is halted because of `reason`, or no longer halted.
    pub fn set(&self, part: impl ToString, reason: Option<String>) {
        let mut halted = self
            .halted
            .lock()
            .expect("nothing panics while it holds the lock");
        let part = part.to_string();
        let before = match &reason {
            Some(reason) => halted.insert(part.clone(), reason.clone()),
            None => halted.remove(&part),
        };
        if before == reason {
            return;
        }
        match &reason {
            Some(reason) => tracing::error!(part, reason, "halted"),
            None => tracing::info!(part, "no longer halted"),
        }
        self.gauge
            .set(i64::try_from(halted.len()).unwrap_or(i64::MAX));
        let parts = halted
            .iter()
            .map(|(part, reason)| format!("{part} {reason}"));
        self.check.set(true, parts.collect::<Vec<_>>().join("; "));
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::Halts;
    use crate::readiness::Readiness;

    #[test]
    fn a_halted_part_is_reported_and_does_not_make_the_process_unready() {
        let (readiness, registry) = (Readiness::default(), Registry::new());
        readiness.started();
        let halts = Halts::register(&readiness, &registry, "c").unwrap();
        halts.set("g1p00e1", Some("stopped before frame 7".to_owned()));

        let (ready, report) = readiness.report();
        assert!(ready);
        assert!(
            report.contains("halted ok: g1p00e1 stopped before frame 7"),
            "{report}"
        );

        halts.set("g1p00e1", None);
        assert!(readiness.report().1.contains("halted ok\n"));
    }
}
