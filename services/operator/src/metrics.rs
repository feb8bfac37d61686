//! Metrics of the operator and of the policies.

use k8s_api::{RetentionPolicy, condition::READY};
use prometheus::{Histogram, IntCounterVec, IntGaugeVec, Registry};
use service_runtime::metrics::{DURATION_BUCKETS, counter_vec, gauge_vec, histogram};

/// The metrics that the operator registers.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    info: IntGaugeVec,
    ready: IntGaugeVec,
    pub(crate) seconds: Histogram,
    errors: IntCounterVec,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            info: gauge_vec(
                registry,
                "retention_policy_info",
                "The retention policies there are; the value is always 1.",
                &["namespace", "name", "priority"],
            )?,
            ready: gauge_vec(
                registry,
                "retention_policy_ready",
                "Whether every service follows the policy: 1 or 0.",
                &["namespace", "name"],
            )?,
            seconds: histogram(
                registry,
                "reconcile_duration_seconds",
                "Time to bring the services and the statuses in line with the policies.",
                DURATION_BUCKETS,
            )?,
            errors: counter_vec(
                registry,
                "reconcile_errors_total",
                "Attempts that failed, by what failed.",
                &["reason"],
            )?,
        })
    }

    /// Counts a failed pass, or a part of one, by `reason`.
    pub(crate) fn count_error(&self, reason: &str) {
        self.errors.with_label_values(&[reason]).inc();
    }

    /// Shows a refused policy as not ready.
    pub(crate) fn show_refused(&self, namespace: &str, name: &str) {
        self.ready.with_label_values(&[namespace, name]).set(0);
    }

    /// Replaces the policies shown by `policies`. There are few, so the labels stay bounded.
    pub(crate) fn show<'a>(&self, policies: impl Iterator<Item = &'a RetentionPolicy>) {
        self.info.reset();
        self.ready.reset();
        for policy in policies {
            let (namespace, name) = (policy.namespace(), policy.name());
            let priority = policy.spec.priority.to_string();
            self.info
                .with_label_values(&[namespace, name, &priority])
                .set(1);
            let conditions = policy.status.iter().flat_map(|status| &status.conditions);
            let ready = conditions
                .into_iter()
                .any(|own| own.type_ == READY && own.status == "True");
            self.ready
                .with_label_values(&[namespace, name])
                .set(ready.into());
        }
    }
}
