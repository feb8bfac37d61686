//! Copies sealed ranges of the warm tier into the cold tier at full fidelity; later expires,
//! samples, merges and vacuums what is there, by the rules in force.
//!
//! A file is put, read back and verified before it is committed; rollups are committed before
//! events; a watermark is published after the commits that it reports; unreferenced objects are
//! deleted last, after days. Runs may overlap, or crash at any line: a range is committed once, and
//! what was not committed is invisible.

mod archive;
mod config;
mod group;
mod maintenance;
mod metrics;
mod plan;
mod progress;
mod repair;
mod rewrite;
mod run;
mod summary;
mod watermark;

use std::time::Duration;

use anyhow::Context as _;
use cold_tier::{ColdOptions, ColdTier};
use event::Timestamp;
use event_log::EventLog;
use service_runtime::{Backoff, Check, Runtime};
use tokio_util::sync::CancellationToken;
use warm_tier::remote::Client;

pub use config::{Args, Output};

use config::Config;
use metrics::Metrics;
use run::Run;
use summary::Summary;

/// After failed runs of `--every`.
const RUN_BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    max: Duration::from_secs(30),
};

/// While ingest has not created the store.
const STORE_ID_POLL: Duration = Duration::from_millis(500);

/// Runs the archiver: once, or with `--every` until the process is asked to stop.
///
/// # Errors
/// When the configuration is invalid or the start fails; for a single run also when any part of it
/// failed. Running again is safe.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let config = args.validate()?;
    let mut runtime = Runtime::start("archiver", args.runtime).await?;
    let archiver = Archiver {
        metrics: Metrics::register(&runtime.registry).context("register metrics")?,
        ready: runtime.readiness.check("cold"),
        shutdown: runtime.shutdown(),
        config,
    };
    if let Some(pause) = archiver.config.every {
        let periodic_runs = archiver.run_periodically(pause);
        runtime.tasks.spawn("archiver", periodic_runs);
        return runtime.join().await;
    }
    let connections = archiver.connect().await?;
    let summary = archiver.run_once(&connections).await?;
    summary.print(archiver.config.output)?;
    summary.into_result()
}

struct Archiver {
    config: Config,
    metrics: Metrics,
    ready: Check,
    shutdown: CancellationToken,
}

struct Connections {
    cold: ColdTier,
    log: EventLog,
    warm: Vec<Client>,
}

impl Archiver {
    async fn connect(&self) -> anyhow::Result<Connections> {
        let log = EventLog::connect(&self.config.nats_url, "archiver");
        let log = log.await.context("connect to nats")?;
        let store = self.store_id(&log).await?;
        let warm = self.config.compactor_urls.iter();
        let warm = warm.map(|url| Client::new(url, Some(store.clone())));
        let warm = warm.collect::<Result<_, _>>()?;
        let options = ColdOptions {
            store: Some(store),
            ..self.config.cold.clone()
        };
        let address = &self.config.cold_url;
        let cold = ColdTier::open_for_writing(address, &options);
        let cold = tokio::time::timeout(self.config.run_timeout, cold).await;
        let cold = cold.context("the cold tier does not answer in time")?;
        let cold = cold.with_context(|| format!("open the cold tier at {address}"))?;
        self.ready.set(true, "");
        Ok(Connections { cold, log, warm })
    }

    /// Reads the id of the store. With `--every` it waits until ingest has created it.
    async fn store_id(&self, log: &EventLog) -> anyhow::Result<String> {
        loop {
            match log.store_id().await {
                Ok(Some(id)) => return Ok(id.to_string()),
                Ok(None) if self.config.every.is_none() => {
                    anyhow::bail!("the log has no store yet: start ingest, which creates it")
                }
                Ok(None) => {}
                Err(error) if error.is_transient() && self.config.every.is_some() => {}
                Err(error) => return Err(error).context("read the id of the store"),
            }
            self.ready.set(false, "waits for ingest to make the log");
            tokio::time::sleep(STORE_ID_POLL).await;
        }
    }

    /// Runs with `pause` between two runs. After a failed run, or one that took too long, whose commits stay, the
    /// pause is the backoff instead.
    async fn run_periodically(self, pause: Duration) -> anyhow::Result<()> {
        let connections = self.shutdown.run_until_cancelled(self.connect()).await;
        let Some(connections) = connections.transpose()? else {
            return Ok(());
        };
        let mut failures = 0;
        while !self.shutdown.is_cancelled() {
            let result = self.run_once(&connections).await.and_then(Summary::log);
            let wait = match result {
                Ok(()) => {
                    failures = 0;
                    pause
                }
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "run failed, will retry");
                    failures += 1;
                    RUN_BACKOFF.delay(failures - 1)
                }
            };
            let wait = tokio::time::sleep(wait);
            let _ = self.shutdown.run_until_cancelled(wait).await;
        }
        Ok(())
    }

    /// One run, within its time. It may be dropped anywhere, as a process may be killed anywhere.
    async fn run_once(&self, connections: &Connections) -> anyhow::Result<Summary> {
        let run = Run {
            config: &self.config,
            log: &connections.log,
            warm: &connections.warm,
            cold: &connections.cold,
            metrics: &self.metrics,
            shutdown: &self.shutdown,
        };
        let limit = self.config.run_timeout;
        let running = async { run.run(connections.log.now().await?).await };
        let ended = tokio::time::timeout(limit, running).await;
        let summary = ended.unwrap_or_else(|_| {
            let limit = humantime::format_duration(limit);
            Err(anyhow::anyhow!(
                "the run was ended after {limit}; what it has committed stays, and the next run goes on behind it"
            ))
        });
        self.metrics
            .record_run(summary.as_ref().ok(), Timestamp::now());
        summary
    }
}
