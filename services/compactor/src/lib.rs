//! The compactor: follows the log of every partition into open parts in memory, seals them into the warm
//! tier's slices, merges and serves those, and drops what is old and safely in the cold tier.
//!
//! Orders kept: the offset moves with the rows, by the manifest that names a seal's files · the log keeps
//! what is not sealed · a slice is deleted last, and only when the cold tier was seen to have it. An error
//! of DuckDB ends the process; the next one reads from the log what was not sealed.

mod cold;
mod config;
mod context;
mod decode;
mod disk_guard;
mod duplicates;
mod lag;
mod log_identity;
mod log_range;
mod maintenance;
mod metrics;
mod open_memory;
mod policy;
mod proof;
mod watermark;
mod worker;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use cold_tier::ColdOptions;
use event::{PartitionCount, PartitionId};
use event_log::{EventLog, LogState};
use hot_tier::HotWriter;
use service_runtime::{Backoff, Check, Halts, Runtime, Tasks};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task, time,
};
use tokio_util::sync::CancellationToken;
use warm_tier::{Partition, StoreClaim, WarmTier, remote::Server};

use cold::LazyColdTier;
use config::Config;
pub use config::{Args, ByteSize};
use context::WorkerContext;
use maintenance::Maintenance;
use metrics::Metrics;
use open_memory::OpenMemory;
use proof::MissingRows;
use worker::Worker;

/// Runs the service until it is stopped by a signal or fails.
///
/// # Errors
/// The first error of any task: end the process and start it again.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let config = args.validate()?;
    let mut runtime = Runtime::start("compactor", args.runtime).await?;
    let metrics = Metrics::register(&runtime.registry).context("register metrics")?;
    let halts = Halts::register(&runtime.readiness, &runtime.registry, "compactor")
        .context("register metrics")?;
    let options = config.warm.clone();
    let tier = task::spawn_blocking(move || WarmTier::open(options)).await??;
    let listener = service_runtime::bind("flight server", config.flight_addr).await?;
    let service = Compactor {
        nats: runtime.readiness.check("nats"),
        partitions: runtime.readiness.check("partitions"),
        tier: Arc::new(tier),
        config,
        metrics,
        halts,
        shutdown: runtime.shutdown(),
    };
    runtime.tasks.spawn("compactor", service.run(listener));
    runtime.join().await
}

/// The service before its tasks are started.
struct Compactor {
    nats: Check,
    partitions: Check,
    tier: Arc<WarmTier>,
    config: Config,
    metrics: Metrics,
    halts: Halts,
    shutdown: CancellationToken,
}

/// Time for the tasks to finish after a stop.
const TASK_DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

impl Compactor {
    async fn run(self, listener: TcpListener) -> anyhow::Result<()> {
        let shutdown = self.shutdown.clone();
        let Some((log, count)) = self.wait_for_log().await? else {
            return Ok(());
        };
        let mut tasks = Tasks::new(shutdown.clone());
        let store = log.store_id().await.context("read the id of the store")?;
        let claim = StoreClaim::new(&self.config.warm.data, store.map(|id| id.to_string()));
        claim.check()?;
        self.tier.divide_among(count.get());
        let is_new = !count.all().any(|partition| self.tier.has(partition));
        let cold = self.cold_options(claim.store().map(str::to_owned));
        let mut cold = cold.map(|(url, options)| LazyColdTier::new(url, options));
        if let Some(cold) = &mut cold {
            cold.check_store().await?;
        }
        let context = self
            .start_context(&log, claim.clone(), &listener, &mut tasks)
            .await?;
        for partition in count.all() {
            let Some(state) = self.log_state(&log, partition).await? else {
                return Ok(());
            };
            if let Some(cold) = cold.as_mut().filter(|_| !self.tier.has(partition)) {
                let waits = format!("{partition} waits for the cold tier");
                self.partitions.set(false, waits);
                let checked =
                    log_identity::check_cold(cold, &log, (partition, state), &shutdown).await;
                if shutdown.is_cancelled() {
                    return Ok(());
                }
                checked?;
            }
            let tier = Arc::clone(&self.tier);
            let opened =
                task::spawn_blocking(move || tier.partition(partition, state.first)).await?;
            let opened = opened.with_context(|| format!("open partition {partition}"))?;
            self.start_worker(&context, opened, &mut tasks).await?;
        }
        if is_new {
            claim.claim()?;
        }
        self.partitions.set(true, format!("{} open", count.get()));
        self.start_maintenance(context, cold, listener, &mut tasks)?;
        tasks.join(TASK_DRAIN_TIMEOUT).await
    }

    /// Connects, and waits until ingest has published the number of partitions; `None` when the process
    /// stops.
    async fn wait_for_log(&self) -> anyhow::Result<Option<(EventLog, PartitionCount)>> {
        let connect = EventLog::connect(&self.config.nats_url, "compactor");
        let Some(log) = self.shutdown.run_until_cancelled(connect).await else {
            return Ok(None);
        };
        let log = log.context("connect to nats")?;
        self.nats.set(true, "");
        self.partitions
            .set(false, "waits for ingest to make the log");
        loop {
            if let Some(count) = log
                .partition_count()
                .await
                .context("read partition count")?
            {
                return Ok(Some((log, count)));
            }
            let pause = time::sleep(Duration::from_millis(200));
            if self.shutdown.run_until_cancelled(pause).await.is_none() {
                return Ok(None);
            }
        }
    }

    /// Reads the state of the log of `partition`. Retries until its stream exists, which ingest creates
    /// after it has published their number; `None` when the process stops.
    async fn log_state(
        &self,
        log: &EventLog,
        partition: PartitionId,
    ) -> anyhow::Result<Option<LogState>> {
        let transient = event_log::Error::is_transient;
        let state = Backoff::default()
            .retry("read the log's state", &self.shutdown, transient, || {
                log.state(partition)
            })
            .await;
        match state {
            Err(_) if self.shutdown.is_cancelled() => Ok(None),
            state => Ok(Some(state.context("read the log's state")?)),
        }
    }

    /// Starts the tasks that follow the policy and watch the disk, and returns the context with their
    /// results.
    async fn start_context(
        &self,
        log: &EventLog,
        store: StoreClaim,
        listener: &TcpListener,
        tasks: &mut Tasks,
    ) -> anyhow::Result<WorkerContext> {
        let rules = log.policy().await.context("read the policy")?;
        let (set_rules, rules) = watch::channel(Arc::new(rules));
        let (allow_appends, appends_allowed) = watch::channel(true);
        let shutdown = tasks.shutdown();
        tasks.spawn(
            "policy",
            policy::follow(log.clone(), set_rules, shutdown.clone()),
        );
        let (data, metrics) = (self.config.warm.data.clone(), self.metrics.clone());
        tasks.spawn(
            "space",
            disk_guard::watch(data, allow_appends, metrics, shutdown),
        );
        let url = match &self.config.flight_url {
            Some(url) => url.clone(),
            None => format!("http://{}", listener.local_addr()?),
        };
        Ok(WorkerContext {
            log: log.clone(),
            cold: self.cold_options(store.store().map(str::to_owned)),
            store,
            rules,
            appends_allowed,
            metrics: self.metrics.clone(),
            seal: self.config.seal,
            open_memory: OpenMemory::new(
                self.config.open_memory,
                self.config.warm.max_part_bytes(),
            ),
            accept_dead_letters: self.config.accept_dead_letters,
            halts: self.halts.clone(),
            flight_url: url,
            seals: Arc::new(Semaphore::new(1)),
        })
    }

    fn cold_options(&self, store: Option<String>) -> Option<(String, ColdOptions)> {
        let (url, options) = self.config.cold.clone()?;
        Some((url, ColdOptions { store, ..options }))
    }

    async fn start_worker(
        &self,
        context: &WorkerContext,
        partition: Partition,
        tasks: &mut Tasks,
    ) -> anyhow::Result<()> {
        let (id, shutdown) = (partition.id(), tasks.shutdown());
        let mut reporter = None;
        if let Some(url) = &self.config.redis_url {
            let hot = HotWriter::connect(url).await.context("connect to redis")?;
            let (sender, publisher) = duplicates::DuplicatePublisher::new(hot, id);
            reporter = Some(sender);
            tasks.spawn(format!("duplicates-{id}"), publisher.run(shutdown.clone()));
        }
        let (watermarks, latest) = watch::channel(None);
        let publish = watermark::publish(context.log.clone(), latest, shutdown.clone());
        tasks.spawn(format!("watermark-{id}"), publish);
        let worker = Worker::new(context.clone(), partition, reporter, watermarks);
        tasks.spawn(format!("partition-{id}"), worker.run(shutdown));
        Ok(())
    }

    fn start_maintenance(
        &self,
        context: WorkerContext,
        cold: Option<LazyColdTier>,
        listener: TcpListener,
        tasks: &mut Tasks,
    ) -> anyhow::Result<()> {
        let shutdown = tasks.shutdown();
        let (scanner, catalog) = (self.tier.scanner()?, self.tier.catalog());
        let (log, metrics) = (context.log.clone(), self.metrics.clone());
        let lag = lag::watch(log, catalog, metrics, self.nats.clone(), shutdown.clone());
        tasks.spawn("lag", lag);
        let server = Server::new(scanner.clone(), context.store.store().map(str::to_owned));
        let stop = shutdown.clone().cancelled_owned();
        tasks.spawn("flight", async move {
            server.serve(listener, stop).await.context("serve flight")
        });
        let maintenance = Maintenance {
            context,
            tier: Arc::clone(&self.tier),
            scanner,
            cold,
            interval: self.config.maintenance_interval,
            log_grace: self.config.log_grace,
            expiry: Arc::default(),
            merger: Arc::new(Mutex::new(self.tier.merger())),
            doubts: BTreeSet::new(),
            missing: MissingRows::default(),
            gaps: maintenance::Gaps::default(),
        };
        tasks.spawn("maintenance", maintenance.run(shutdown));
        Ok(())
    }
}
