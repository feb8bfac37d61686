//! Turns RetentionPolicy objects into the one rule set that every service follows, and reports the
//! result in their statuses.
//!
//! Guarantees: nothing is kept less long before the grace period of the change is over, whatever
//! restarts; a broken object does not block the others; an unreachable service is reported in the
//! statuses and never waited for. Of several replicas, only the holder of the Lease writes.

mod archiver_job;
mod config;
mod controller;
mod lease;
mod metrics;
mod watch;

use std::sync::Arc;

use anyhow::Context as _;
use kube::Client;
use service_runtime::Runtime;
use tokio::sync::watch as channel;

pub use config::Args;

use crate::{
    controller::{Controller, figures::Query},
    lease::Elector,
    metrics::Metrics,
};

/// Runs the operator until a signal stops it.
///
/// # Errors
/// Invalid arguments, an API server that cannot be found, a task that fails. The process should end
/// and be restarted.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let (config, runtime_args) = args.validate()?;
    let mut runtime = Runtime::start("operator", runtime_args).await?;
    let metrics = Metrics::register(&runtime.registry).context("register metrics")?;
    let client = Client::try_default().await.context("find the API server")?;
    let query = Query::new(config.sql_url.clone())?;
    let shutdown = runtime.shutdown();
    let (rules, rules_to_count) = channel::channel(None);
    let (elector, leadership) = Elector::new(
        client.clone(),
        &config.namespace,
        &config.lease,
        &config.identity,
    );
    let controller = Controller::new(client.clone(), &config, leadership, metrics, rules);
    let (figures, changed) = (controller.figures.clone(), Arc::clone(&controller.changed));
    let tasks = &mut runtime.tasks;
    tasks.spawn("lease", elector.run(shutdown.clone()));
    tasks.spawn(
        "figures",
        watch::count(
            query,
            rules_to_count,
            figures,
            Arc::clone(&changed),
            shutdown.clone(),
        ),
    );
    let policies = controller::policies(client, &config);
    tasks.spawn(
        "policies",
        watch::policies(policies, changed, shutdown.clone()),
    );
    tasks.spawn("controller", controller.run(shutdown));
    runtime.join().await
}
