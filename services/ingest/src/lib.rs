//! Ingest: takes events over HTTP, decides about them, and answers when the log has them.
//!
//! Promises: success is said only after every acknowledgement of the log; a time-out is never
//! called success and never "not stored"; one bad event refuses its whole request unless the
//! client asked for less. Nothing is kept here: a killed ingest loses nothing that it said it had.

mod accept;
mod body;
mod config;
mod durability_check;
mod head;
mod http;
mod if_match;
mod metrics;
mod problem;
mod publish;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use event_log::{Error, EventLog};
use service_runtime::{Backoff, Check, Runtime};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use config::Args;

use crate::{body::BodyBudget, config::Config, http::App, metrics::Metrics};

const LOOK: Duration = Duration::from_secs(1);

/// Runs the service until it is told to stop.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let (config, runtime_args) = args.validate()?;
    let mut runtime = Runtime::start("ingest", runtime_args).await?;
    let metrics = Metrics::register(&runtime.registry).context("register metrics")?;
    let listener = service_runtime::bind("http", config.listen).await?;
    let nats = runtime.readiness.check("nats");
    let shutdown = runtime.shutdown();
    let log = tokio::select! {
        () = shutdown.cancelled() => return runtime.join().await,
        log = prepare(&config, &shutdown) => log?,
    };
    let app = Arc::new(App {
        log: log.clone(),
        partitions: config.partitions,
        metrics,
        turns: Semaphore::new(config.max_requests),
        bodies: BodyBudget::new(config.max_requests),
    });
    let router = http::router(app);
    info!(addr = %listener.local_addr()?, partitions = config.partitions.get(), "taking events");
    runtime
        .tasks
        .spawn("nats check", watch(log, nats, shutdown.clone()));
    runtime
        .tasks
        .spawn("http", service_runtime::serve(listener, router, shutdown));
    runtime.join().await
}

/// The log, proved safe and with all its streams.
async fn prepare(config: &Config, shutdown: &CancellationToken) -> anyhow::Result<EventLog> {
    let log = EventLog::connect(&config.nats_url, "ingest").await?;
    durability_check::check(config).await?;
    let ensure =
        || log.ensure_streams(config.partitions, config.log_replicas, config.log_max_bytes);
    Backoff::default()
        .retry("ensure streams", shutdown, Error::is_transient, ensure)
        .await
        .context("prepare the log")?;
    Ok(log)
}

/// Ready means that the log can be reached.
async fn watch(log: EventLog, nats: Check, shutdown: CancellationToken) -> anyhow::Result<()> {
    loop {
        let detail = match log.is_connected() {
            true => "connected",
            false => "not connected",
        };
        nats.set(log.is_connected(), detail);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
