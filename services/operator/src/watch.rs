//! The tasks that wake the controller: the watch of the policies, and the counting of figures.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_api::RetentionPolicy;
use kube::{
    Api,
    core::DeserializeGuard,
    runtime::{WatchStreamExt as _, watcher},
};
use retention::RuleSet;
use tokio::{
    sync::{Notify, watch},
    time,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::controller::{SharedFigures, figures::Query};

/// Interval between two counts; each reads every event of all tiers.
const COUNT_INTERVAL: Duration = Duration::from_secs(30);
/// Wait after a change of the rules before counting: the services follow new rules in about a second,
/// so an earlier count would use the old ones.
const RULES_PROPAGATION_WAIT: Duration = Duration::from_secs(2);

/// Wakes the controller at each change of a policy. It does not say which: a pass reads all of them.
pub(crate) async fn policies(
    api: Api<DeserializeGuard<RetentionPolicy>>,
    changed: Arc<Notify>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let watch = watcher(api, watcher::Config::default()).default_backoff();
    let mut watch = Box::pin(watch);
    loop {
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            event = watch.next() => event,
        };
        match event {
            Some(Ok(_)) => changed.notify_one(),
            Some(Err(error)) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "policy watch failed, will retry"
                );
            }
            None => anyhow::bail!("the watch of the policies ended"),
        }
    }
}

/// Counts by the rules in force: after each change of them, and every [`COUNT_INTERVAL`].
pub(crate) async fn count(
    query: Query,
    mut rules: watch::Receiver<Option<RuleSet>>,
    shared: SharedFigures,
    changed: Arc<Notify>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let current = rules.borrow_and_update().clone();
        if let Some(current) = current {
            let figures = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                figures = query.figures(&current, Timestamp::now()) => figures,
            };
            let figures = figures.map_err(|error| format!("{error:#}"));
            *shared.0.lock().expect("nothing panics in here") = Some(figures);
            changed.notify_one();
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            new = rules.changed() => {
                if new.is_err() {
                    return Ok(());
                }
                time::sleep(RULES_PROPAGATION_WAIT).await;
            }
            () = time::sleep(COUNT_INTERVAL) => {}
        }
    }
}
