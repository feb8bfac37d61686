//! The command line, and the configuration that is parsed from it.

use std::time::Duration;

use anyhow::ensure;
use event_log::NatsArgs;
use hot_tier::RedisArgs;
use service_runtime::RuntimeArgs;

/// Copies the event log to the hot tier and trims it there.
#[derive(Debug, clap::Parser)]
#[command(name = "hot-writer", version)]
pub struct Args {
    #[command(flatten)]
    log: NatsArgs,
    #[command(flatten)]
    hot: RedisArgs,
    /// The interval between two trims of the hot tier.
    #[arg(long, env = "ISOTHERM_TRIM_INTERVAL", default_value = "10s")]
    trim_interval: humantime::Duration,
    /// Pass over any number of frames that cannot be read, instead of stopping at a flood of them.
    #[arg(long, env = "ISOTHERM_ACCEPT_DEAD_LETTERS")]
    accept_dead_letters: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// The validated configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) nats_url: String,
    pub(crate) redis_url: String,
    pub(crate) trim_interval: Duration,
    pub(crate) accept_dead_letters: bool,
}

impl Args {
    /// Validates the arguments; an error names the flag.
    pub(crate) fn validate(self) -> anyhow::Result<(Config, RuntimeArgs)> {
        let trim_interval = Duration::from(self.trim_interval);
        ensure!(
            trim_interval >= Duration::from_millis(10),
            "--trim-interval must be at least 10ms, is {}",
            self.trim_interval
        );
        let config = Config {
            nats_url: self.log.nats_url,
            redis_url: self.hot.redis_url,
            trim_interval,
            accept_dead_letters: self.accept_dead_letters,
        };
        Ok((config, self.runtime))
    }
}
