//! What wakes the controller: a policy that changed, and figures that are counted.

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

use crate::controller::{Counted, figures::Query};

/// A count reads every event that the tiers hold.
const COUNT: Duration = Duration::from_secs(30);
/// The services follow new rules in about a second; counting sooner would count by the old ones.
const SETTLE: Duration = Duration::from_secs(2);

/// Says that something changed, not what: the controller looks for itself.
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
                warn!(error = &error as &dyn std::error::Error, "will watch again");
            }
            None => anyhow::bail!("the watch of the policies ended"),
        }
    }
}

/// Counts by the rules in force, again and again.
pub(crate) async fn count(
    query: Query,
    mut rules: watch::Receiver<Option<RuleSet>>,
    counted: Counted,
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
            *counted.0.lock().expect("nothing panics in here") = Some(figures);
            changed.notify_one();
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            new = rules.changed() => {
                if new.is_err() {
                    return Ok(());
                }
                time::sleep(SETTLE).await;
            }
            () = time::sleep(COUNT) => {}
        }
    }
}
