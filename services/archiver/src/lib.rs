//! Copies sealed ranges of the warm tier into the cold tier at full fidelity; later samples,
//! expires, joins and vacuums what is there, by the rules in force.
//!
//! Orders kept: put, read back, verify, commit · rollups before events · a watermark after the
//! commit that it speaks of · objects that nothing names are deleted last, after days. Runs may
//! overlap or die at any line: a range lands once, and everything else is invisible.

mod archive;
mod config;
mod group;
mod maintenance;
mod metrics;
mod plan;
mod progress;
mod rewrite;
mod run;
mod summary;
mod watermark;

use std::time::Duration;

use anyhow::Context as _;
use cold_tier::ColdTier;
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

const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    max: Duration::from_secs(30),
};

/// Runs once, or again and again, until it is told to stop or fails.
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
        let forever = archiver.again_and_again(pause);
        runtime.tasks.spawn("archiver", forever);
        return runtime.join().await;
    }
    let connected = archiver.connect().await?;
    let summary = archiver.once(&connected).await?;
    summary.print(archiver.config.output)?;
    summary.into_result()
}

struct Archiver {
    config: Config,
    metrics: Metrics,
    ready: Check,
    shutdown: CancellationToken,
}

struct Connected {
    cold: ColdTier,
    log: EventLog,
    warm: Vec<Client>,
}

impl Archiver {
    async fn connect(&self) -> anyhow::Result<Connected> {
        let log = EventLog::connect(&self.config.nats_url, "archiver");
        let log = log.await.context("connect to nats")?;
        let warm = self.config.compactor_urls.iter();
        let warm = warm.map(|url| Client::new(url)).collect::<Result<_, _>>()?;
        let address = &self.config.cold_url;
        let cold = ColdTier::open_for_writing(address, &self.config.cold).await;
        let cold = cold.with_context(|| format!("open the cold tier at {address}"))?;
        self.ready.set(true, "");
        Ok(Connected { cold, log, warm })
    }

    /// A run that fails is tried again, later and later: what it has committed stays.
    async fn again_and_again(self, pause: Duration) -> anyhow::Result<()> {
        let connected = self.shutdown.run_until_cancelled(self.connect()).await;
        let Some(connected) = connected.transpose()? else {
            return Ok(());
        };
        let mut failures = 0;
        while !self.shutdown.is_cancelled() {
            let run = self.once(&connected).await.and_then(Summary::logged);
            let wait = match run {
                Ok(()) => {
                    failures = 0;
                    pause
                }
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "a run did not do all, will run again"
                    );
                    failures += 1;
                    BACKOFF.delay(failures - 1)
                }
            };
            let wait = tokio::time::sleep(wait);
            let _ = self.shutdown.run_until_cancelled(wait).await;
        }
        Ok(())
    }

    async fn once(&self, connected: &Connected) -> anyhow::Result<Summary> {
        let run = Run {
            config: &self.config,
            log: &connected.log,
            warm: &connected.warm,
            cold: &connected.cold,
            metrics: &self.metrics,
            shutdown: &self.shutdown,
        };
        let summary = run.run(Timestamp::now()).await;
        self.metrics.ended(summary.as_ref().ok(), Timestamp::now());
        summary
    }
}
