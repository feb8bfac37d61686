//! The query service: reads of a conversation, tails of a conversation or a tenant, and SQL, answered
//! from hot, warm, cold and the log as one store.
//!
//! Each source answers a disjoint range of positions, so a row is returned once by construction. A
//! range that no source has is reported with the answer, never skipped. When rows move from tier to
//! tier during a read, the read plans again.

mod cold;
pub mod config;
mod dedup_wait;
mod error;
mod format;
mod http;
mod live;
mod log_messages;
mod log_rows;
mod memory;
mod merge;
mod metrics;
mod params;
mod plan;
mod read;
mod read_limit;
mod retention_filter;
mod retry;
mod rollup;
mod rows;
mod scan;
mod service;
mod slots;
mod sources;
mod sql;
mod tail;
mod warm;
mod watch;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use cold_tier::{ColdOptions, ColdTier, ObjectCache};
use event::PartitionCount;
use event_log::EventLog;
use hot_tier::HotReader;
use service_runtime::Runtime;
use tokio_util::sync::CancellationToken;
use warm_tier::{remote::Client, sql::remote::Executor};

use crate::{
    cold::{COLD_STALL_TIMEOUT, ColdSource},
    config::{Args, Config},
    dedup_wait::DedupWaits,
    live::LiveSignals,
    memory::RequestMemory,
    metrics::Metrics,
    service::QueryService,
    slots::{StatementSlots, TailSlots},
    sources::Sources,
    warm::WarmSource,
};

/// Interval at which the partition count, which the first ingest publishes, is read until it is there.
const PARTITION_COUNT_POLL: Duration = Duration::from_millis(200);

/// Entry point of the program.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    service_runtime::main(|| async move {
        let config = args.validate()?;
        let runtime = Runtime::start("query", args.runtime).await?;
        run(config, runtime).await
    })
}

/// Serves requests until a shutdown signal.
///
/// # Errors
///
/// A server cannot be reached at the start for good, an address cannot be bound, or a task fails.
pub async fn run(config: Config, mut runtime: Runtime) -> anyhow::Result<()> {
    service_runtime::bound_memory(config.memory_bytes)?;
    let listener = service_runtime::bind("query", config.listen).await?;
    let metrics = Metrics::register(&runtime.registry)?;
    let shutdown = runtime.shutdown();
    let checks = watch::ReadinessChecks::new(&runtime.readiness);
    let hot = HotReader::connect(&config.redis_url).await?;
    let log = EventLog::connect(&config.nats_url, "query").await?;
    let Some(partitions) = partitions(&log, &checks, &shutdown).await? else {
        return runtime.join().await;
    };
    let store = log.store_id().await?.map(|id| id.to_string());
    let warm = WarmSource::new(Client::new(&config.compactor_url, store.clone())?);
    let cold = ColdSource::new(cold_tier(&config, store)?);
    let (rules, follow_rules) = watch::rules(&log, shutdown.clone()).await?;
    let sources = Arc::new(Sources {
        log: log.clone(),
        hot,
        warm,
        cold,
        rules,
        metrics,
        dedup_waits: DedupWaits::default(),
        memory: RequestMemory::new(config.request_memory),
    });
    let service = Arc::new(QueryService {
        live: LiveSignals::new(log),
        sources: Arc::clone(&sources),
        partitions,
        sql: config.sql,
        executor: Executor::new(&config.executor_url)?,
        sql_slots: StatementSlots::new(config.sql.max_concurrent),
        tail_slots: TailSlots::new(
            config.max_tail_clients,
            sources.metrics.tail_clients.clone(),
        ),
        shutdown: shutdown.clone(),
    });
    checks.nats.set(true, "");
    tracing::info!(listen = %listener.local_addr()?, partitions = partitions.get(), "serving");
    let router = http::router(service);
    let (access, pressure) = (runtime.access.clone(), sources.memory.pressure.clone());
    let serving = service_runtime::serve(listener, router, access, pressure, shutdown.clone());
    runtime.tasks.spawn("rules", follow_rules);
    runtime
        .tasks
        .spawn("checks", watch::check(sources, checks, shutdown));
    runtime.tasks.spawn("http", serving);
    runtime.join().await
}

/// Waits for the partition count; `None` when the shutdown comes first.
async fn partitions(
    log: &EventLog,
    checks: &watch::ReadinessChecks,
    shutdown: &CancellationToken,
) -> anyhow::Result<Option<PartitionCount>> {
    loop {
        match log.partition_count().await {
            Ok(Some(count)) => return Ok(Some(count)),
            Ok(None) => checks
                .nats
                .set(false, "waits for ingest to create the partitions"),
            Err(error) if error.is_transient() => checks.nats.set(false, error.to_string()),
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(PARTITION_COUNT_POLL) => {}
        }
    }
}

fn cold_tier(config: &Config, store: Option<String>) -> anyhow::Result<Option<ColdTier>> {
    let Some(url) = &config.cold_url else {
        return Ok(None);
    };
    let cache = match &config.cache {
        Some((dir, max_bytes)) => {
            let cache = ObjectCache::open(dir, *max_bytes);
            Some(Arc::new(cache.context("open the cache")?))
        }
        None => None,
    };
    let options = ColdOptions {
        s3: config.s3.clone(),
        cache,
        store,
        stall_timeout: Some(COLD_STALL_TIMEOUT),
        object_memory: Some(config.object_memory),
    };
    Ok(Some(ColdTier::open(url, &options)?))
}
