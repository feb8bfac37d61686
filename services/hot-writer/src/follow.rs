//! The small tasks that keep the others informed: the rules, the warm tier's watermarks, and
//! whether the dependencies answer.

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

const LOOK: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
const COMPONENT: &str = "hot-writer";

/// Hands every change of the rules on, and says that they are followed.
pub(crate) async fn rules(
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
        let next = next.expect("the rules are watched for ever");
        let hash = next.hash();
        info!(policy.hash = hash, "following rules");
        rules.send_replace(Some(next));
        let ack = || log.ack_policy(COMPONENT, &hash);
        let acked = Backoff::default()
            .retry(
                "say which rules are followed",
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

/// Keeps up with what is sealed in the warm tier.
pub(crate) async fn sealed(
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
        sealed.take(&next.expect("watermarks are watched for ever"));
    }
}

/// Ready while both dependencies answer.
pub(crate) async fn health(
    (nats, redis): (Check, Check),
    log: EventLog,
    hot: HotWriter,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        nats.set(log.is_connected(), "");
        match time::timeout(PATIENCE, hot.ping()).await {
            Ok(Ok(())) => redis.set(true, ""),
            Ok(Err(error)) => redis.set(false, error.to_string()),
            Err(_) => redis.set(false, "it does not answer"),
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            () = time::sleep(LOOK) => {}
        }
    }
}
