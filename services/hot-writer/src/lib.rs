//! Copies the event log to the hot tier, and trims the hot tier by the rules.
//!
//! Guarantees: each event is in the hot tier once and in the order of the log, whatever crashes and however
//! many writers run, because the cursor moves in the transaction that appends the events. No event is
//! trimmed that is not sealed in the warm tier. A lost hot tier is filled again from the log, behind what
//! is sealed.

mod batch;
mod config;
mod follow;
mod metrics;
mod reporter;
mod retention_limit;
mod shared;
mod trimmer;
mod worker;

use std::time::Duration;

use anyhow::Context as _;
use event::PartitionCount;
use event_log::EventLog;
use hot_tier::HotWriter;
use service_runtime::{Backoff, Check, Halts, Runtime};
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use config::Args;

use crate::{
    config::Config,
    metrics::Metrics,
    reporter::Reporter,
    shared::{SealedWatermarks, Shared, Signals},
    trimmer::Trimmer,
    worker::Worker,
};

/// The interval between two looks for the log while ingest has not created it. No reason for the number but
/// a quick start.
const LOG_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Runs the service until a signal or the first task that ends.
///
/// # Errors
/// Invalid arguments, an unfit hot tier, or a task that failed. End the process.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let (config, runtime_args) = args.validate()?;
    let mut runtime = Runtime::start("hot-writer", runtime_args).await?;
    let shutdown = runtime.shutdown();
    let (shared, count) = tokio::select! {
        biased;
        () = shutdown.cancelled() => return runtime.join().await,
        prepared = prepare(&config, &mut runtime) => prepared?,
    };
    info!(partitions = count.get(), "copying the log to the hot tier");
    spawn(&config, &shared, count, &mut runtime);
    runtime.join().await
}

/// Connects to both dependencies, checks the hot tier and waits for the log; returns them with the number of
/// partitions.
async fn prepare(
    config: &Config,
    runtime: &mut Runtime,
) -> anyhow::Result<(Shared, PartitionCount)> {
    let metrics = Metrics::register(&runtime.registry).context("register metrics")?;
    let halts = Halts::register(&runtime.readiness, &runtime.registry, "hot-writer")
        .context("register metrics")?;
    let check = |name| runtime.readiness.check(name);
    let (created, nats, redis) = (check("log"), check("nats"), check("redis"));
    let hot = HotWriter::connect(&config.redis_url).await?;
    let log = EventLog::connect(&config.nats_url, "hot-writer").await?;
    let shutdown = runtime.shutdown();
    let readiness =
        follow::check_readiness((nats, redis), log.clone(), hot.clone(), shutdown.clone());
    runtime.tasks.spawn("health", readiness);
    check_hot(&hot, &shutdown).await?;
    let count = wait_for_log(&log, &created, &shutdown).await?;
    let shared = Shared {
        log,
        hot,
        metrics,
        sealed: SealedWatermarks::default(),
        halts,
        accept_dead_letters: config.accept_dead_letters,
    };
    Ok((shared, count))
}

/// Checks the hot tier's configuration; logs its recommendations.
async fn check_hot(hot: &HotWriter, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let advice = Backoff::default()
        .retry(
            "check the hot tier's configuration",
            shutdown,
            hot_tier::Error::is_transient,
            || hot.check_server(),
        )
        .await
        .context("check the hot tier")?;
    for advice in advice {
        warn!(advice, "hot tier configuration is not recommended");
    }
    Ok(())
}

/// Waits until ingest has created the log; returns the number of its partitions.
async fn wait_for_log(
    log: &EventLog,
    created: &Check,
    shutdown: &CancellationToken,
) -> anyhow::Result<PartitionCount> {
    loop {
        let count = Backoff::default()
            .retry(
                "read the number of partitions",
                shutdown,
                event_log::Error::is_transient,
                || log.partition_count(),
            )
            .await
            .context("read the number of partitions")?;
        if let Some(count) = count {
            created.set(true, "");
            return Ok(count);
        }
        created.set(false, "waiting for ingest to create the log");
        time::sleep(LOG_POLL_INTERVAL).await;
    }
}

/// Starts the tasks of all partitions.
fn spawn(config: &Config, shared: &Shared, count: PartitionCount, runtime: &mut Runtime) {
    let shutdown = runtime.shutdown();
    let (sender, rules) = watch::channel(None);
    let tasks = &mut runtime.tasks;
    let (log, sealed) = (shared.log.clone(), shared.sealed.clone());
    tasks.spawn(
        "sealed",
        follow::follow_sealed(log.clone(), sealed, shutdown.clone()),
    );
    tasks.spawn("rules", follow::follow_rules(log, sender, shutdown.clone()));
    let mut partitions = Vec::new();
    for partition in count.all() {
        let signals = Signals::new();
        let worker = Worker {
            shared: shared.clone(),
            signals: signals.clone(),
            partition,
        };
        let reporter = Reporter {
            shared: shared.clone(),
            signals: signals.clone(),
            partition,
        };
        tasks.spawn(
            format!("writer of {partition}"),
            worker.run(shutdown.clone()),
        );
        tasks.spawn(
            format!("reporter of {partition}"),
            reporter.run(shutdown.clone()),
        );
        partitions.push((partition, signals));
    }
    let trimmer = Trimmer {
        shared: shared.clone(),
        partitions,
        rules,
        interval: config.trim_interval,
    };
    tasks.spawn("trimmer", trimmer.run(shutdown));
}
