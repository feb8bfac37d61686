//! Turns RetentionPolicy objects into the one rule set that every service follows, and says in
//! their statuses what became of them.
//!
//! Promises: nothing is kept less long before the grace period of the change is over, whatever
//! restarts; one broken object stops no other; what cannot be reached is said and never waited for.
//! Of several replicas the one that holds the Lease writes.

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

/// Runs the operator until it is told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let (config, runtime_args) = args.validate()?;
    let mut runtime = Runtime::start("operator", runtime_args).await?;
    let metrics = Metrics::register(&runtime.registry).context("register metrics")?;
    let client = Client::try_default().await.context("find the API server")?;
    let query = Query::new(config.sql_url.clone())?;
    let shutdown = runtime.shutdown();
    let (rules, to_count) = channel::channel(None);
    let (elector, leading) = Elector::new(
        client.clone(),
        &config.namespace,
        &config.lease,
        &config.identity,
    );
    let controller = Controller::new(client.clone(), &config, leading, metrics, rules);
    let (counted, changed) = (controller.counted.clone(), Arc::clone(&controller.changed));
    let tasks = &mut runtime.tasks;
    tasks.spawn("lease", elector.run(shutdown.clone()));
    tasks.spawn(
        "figures",
        watch::count(
            query,
            to_count,
            counted,
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
