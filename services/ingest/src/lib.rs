//! Ingest: accepts events over HTTP, validates them, and answers when the log has them.
//!
//! Guarantees: a request succeeds only after the log has acknowledged all its frames; after a time-out the
//! outcome is reported as unknown, never as stored or not stored; one bad event refuses its whole request
//! unless the client asked for a partial one. Ingest has no state: a killed one loses no event that it has
//! acknowledged.

mod accept;
mod body;
mod config;
mod durability_check;
mod head;
mod http;
mod if_match;
mod log_disk;
mod metrics;
mod problem;
mod publish;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use event::PartitionCount;
use event_log::{Error, EventLog};
use service_runtime::{Backoff, Check, Halts, Runtime};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use config::Args;

use crate::{
    body::MemoryBudget, config::Config, http::App, if_match::Conditions, log_disk::LogDisk,
    metrics::Metrics, publish::Appender,
};

/// The interval between two checks of the connection to the log.
const READINESS_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the service until a signal or the first task that ends.
///
/// # Errors
/// Invalid arguments, an unsafe log, a taken port, or a task that failed. End the process.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let (config, runtime_args) = args.validate()?;
    let mut runtime = Runtime::start("ingest", runtime_args).await?;
    let metrics = Metrics::register(&runtime.registry).context("register metrics")?;
    let listener = service_runtime::bind("http", config.listen).await?;
    let nats = runtime.readiness.check("nats");
    let halts = Halts::register(&runtime.readiness, &runtime.registry, "ingest")
        .context("register metrics")?;
    let shutdown = runtime.shutdown();
    let log = tokio::select! {
        () = shutdown.cancelled() => return runtime.join().await,
        log = prepare(&config, &shutdown) => log?,
    };
    let log_disk = LogDisk::default();
    let app = Arc::new(App {
        log: log.clone(),
        appender: Appender::new(log.clone(), metrics.clone(), config.partitions),
        log_disk: log_disk.clone(),
        partitions: config.partitions,
        conditions: Conditions::new(metrics.condition_messages_read.clone()),
        metrics,
        request_permits: Semaphore::new(config.max_requests),
        memory: MemoryBudget::new(config.request_memory),
    });
    let pressure = app.memory.pressure();
    let router = http::router(app);
    info!(addr = %listener.local_addr()?, partitions = config.partitions.get(), "accepting events");
    runtime.tasks.spawn(
        "nats check",
        check_readiness(log.clone(), nats, shutdown.clone()),
    );
    let checking = check_log_identity(log, config.partitions, halts, shutdown.clone());
    runtime.tasks.spawn("log check", checking);
    let following = log_disk.follow(config.monitor_urls, shutdown.clone());
    runtime.tasks.spawn("log disk", following);
    let access = runtime.access.clone();
    let serving = service_runtime::serve(listener, router, access, pressure, shutdown);
    runtime.tasks.spawn("http", serving);
    runtime.join().await
}

/// Connects to the log, checks its durability and creates its streams.
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

/// Keeps the readiness check of the connection to the log up to date.
async fn check_readiness(
    log: EventLog,
    nats: Check,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let detail = match log.is_connected() {
            true => "connected",
            false => "not connected",
        };
        nats.set(log.is_connected(), detail);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(READINESS_CHECK_INTERVAL) => {}
        }
    }
}

/// Compares the logs of all partitions after each reconnect, and reports those that are latched.
async fn check_log_identity(
    log: EventLog,
    partitions: PartitionCount,
    halts: Halts,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        for partition in partitions.all() {
            // While it does not answer, it is compared before the next append.
            let _ = log.check_identity(partition).await;
            let reason = log.latched(partition).map(|error| error.to_string());
            halts.set(partition, reason);
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(READINESS_CHECK_INTERVAL) => {}
        }
    }
}
