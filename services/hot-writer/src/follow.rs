//! The background tasks that follow the rules, the warm tier's watermarks, and the reachability of the
//! dependencies.

use std::{sync::Arc, time::Duration};

use event_log::EventLog;
use futures::StreamExt as _;
use hot_tier::HotWriter;
use retention::RuleSet;
use service_runtime::{Backoff, Check};
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::shared::SealedWatermarks;

/// The interval between two checks of the dependencies. No reason for the number but to notice an outage
/// within seconds.
const READINESS_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest that the hot tier may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// The name under which this service acknowledges rules.
const COMPONENT: &str = "hot-writer";

/// Passes every change of the rules on to the trimmer, and acknowledges it in the log.
pub(crate) async fn follow_rules(
    log: EventLog,
    rules: watch::Sender<Option<Arc<RuleSet>>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut changes = log.watch_policy();
    loop {
        let next = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            next = changes.next() => next,
        };
        let next = next.expect("the watch of the rules never ends");
        let hash = next.hash();
        info!(policy.hash = hash, "following rules");
        rules.send_replace(Some(next));
        let ack = || log.ack_policy(COMPONENT, &hash);
        let acked = Backoff::default()
            .retry(
                "acknowledge rules",
                &shutdown,
                event_log::Error::is_transient,
                ack,
            )
            .await;
        if shutdown.is_cancelled() {
            return Ok(());
        }
        acked?;
    }
}

/// Records the warm tier's sealed watermarks.
pub(crate) async fn follow_sealed(
    log: EventLog,
    sealed: SealedWatermarks,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut watermarks = log.watch_watermarks();
    loop {
        let next = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            next = watermarks.next() => next,
        };
        sealed.record(&next.expect("the watch of the watermarks never ends"));
    }
}

/// Keeps the readiness checks of both dependencies up to date.
pub(crate) async fn check_readiness(
    (nats, redis): (Check, Check),
    log: EventLog,
    hot: HotWriter,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        nats.set(log.is_connected(), "");
        match time::timeout(PING_TIMEOUT, hot.ping()).await {
            Ok(Ok(())) => redis.set(true, ""),
            Ok(Err(error)) => redis.set(false, error.to_string()),
            Err(_) => redis.set(false, "it does not answer"),
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            () = time::sleep(READINESS_CHECK_INTERVAL) => {}
        }
    }
}
