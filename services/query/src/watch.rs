//! Background tasks: follows the retention rules, and checks the servers for readiness.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Context as _;
use event_log::EventLog;
use futures::StreamExt as _;
use retention::RuleSet;
use service_runtime::{Check, Readiness};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::sources::Sources;

/// Name under which this service acknowledges the rules.
const COMPONENT: &str = "query";
const READINESS_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Readiness checks. Only the log is required: an answer can do without the others and then reports
/// what is missing. Their state is shown but never makes the service unready.
#[derive(Debug)]
pub(crate) struct ReadinessChecks {
    pub(crate) nats: Check,
    redis: Check,
    compactor: Check,
    cold: Check,
}

impl ReadinessChecks {
    pub(crate) fn new(readiness: &Readiness) -> Self {
        let optional = |name| {
            let check = readiness.check(name);
            check.set(true, "not checked yet");
            check
        };
        Self {
            nats: readiness.check("nats"),
            redis: optional("redis"),
            compactor: optional("compactor"),
            cold: optional("cold"),
        }
    }
}

/// Checks every server periodically until `shutdown`.
pub(crate) async fn check(
    sources: Arc<Sources>,
    checks: ReadinessChecks,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(READINESS_CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        checks.nats.set(sources.log.is_connected(), "");
        let down = |up: bool| {
            if up {
                ""
            } else {
                "down; data that only it has is reported as missing"
            }
        };
        checks
            .redis
            .set(true, down(sources.hot.ping().await.is_ok()));
        checks
            .compactor
            .set(true, down(sources.warm.coverage(false).await.is_some()));
        let cold = match sources.cold.is_configured() {
            true => down(sources.cold.latest().await.is_some()),
            false => "not configured",
        };
        checks.cold.set(true, cold);
    }
}

/// Returns the rules now in force, and the task that follows and acknowledges them.
///
/// # Errors
///
/// The rules cannot be read: the service cannot start.
pub(crate) async fn rules(
    log: &EventLog,
    shutdown: CancellationToken,
) -> anyhow::Result<(
    watch::Receiver<Arc<RuleSet>>,
    impl Future<Output = anyhow::Result<()>> + Send + 'static,
)> {
    let mut rules = log.watch_policy();
    let first = rules.next().await.context("read the rules")?;
    let (sender, receiver) = watch::channel(first);
    let log = log.clone();
    let follow = async move {
        loop {
            let current = Arc::clone(&sender.borrow());
            if let Err(error) = log.ack_policy(COMPONENT, &current.hash()).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "rules not acknowledged"
                );
            }
            let next = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                next = rules.next() => next.context("follow the rules")?,
            };
            tracing::info!(rules = next.hash(), "rules changed");
            sender.send_replace(next);
        }
    };
    Ok((receiver, follow))
}
