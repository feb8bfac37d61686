//! The command line, and the configuration made of it.

use std::time::Duration;

use cold_tier::{ColdOptions, S3Options};
use event_log::NatsArgs;
use service_runtime::RuntimeArgs;

/// Copies sealed ranges from the warm to the cold tier; then expires, samples, merges and vacuums
/// what is there. Any number of runs may overlap.
#[derive(Debug, clap::Parser)]
#[command(version)]
pub struct Args {
    #[command(flatten)]
    pub log: NatsArgs,
    /// The compactor's Arrow Flight address. May be given again, once per compactor.
    #[arg(
        long,
        env = "ISOTHERM_COMPACTOR_URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7403"
    )]
    pub compactor_url: Vec<String>,
    /// The cold tier: s3://bucket/prefix, file:///dir or a path.
    #[arg(long, env = "ISOTHERM_COLD_URL")]
    pub cold_url: String,
    #[command(flatten)]
    pub s3: S3Options,
    /// Run once and end. This is the default; the flag says it aloud.
    #[arg(long, conflicts_with = "every")]
    pub once: bool,
    /// Stay, and run again and again with this pause.
    #[arg(long, value_name = "PAUSE")]
    pub every: Option<humantime::Duration>,
    /// Delete objects that nothing has named for this long. Longer than any query and any run.
    #[arg(long, default_value = "72h")]
    pub vacuum_after: humantime::Duration,
    /// How to write the summary of a single run; a table on a terminal, else JSON.
    #[arg(long, short, value_enum)]
    pub output: Option<Output>,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

/// The format of a run's summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// The validated configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) nats_url: String,
    pub(crate) compactor_urls: Vec<String>,
    pub(crate) cold_url: String,
    pub(crate) cold: ColdOptions,
    pub(crate) every: Option<Duration>,
    pub(crate) vacuum_after: Duration,
    pub(crate) output: Option<Output>,
}

impl Args {
    pub(crate) fn validate(&self) -> anyhow::Result<Config> {
        anyhow::ensure!(
            self.every.is_none_or(|every| !every.is_zero()),
            "--every must not be zero"
        );
        Ok(Config {
            nats_url: self.log.nats_url.clone(),
            compactor_urls: self.compactor_url.clone(),
            cold_url: self.cold_url.clone(),
            cold: self.s3.clone().into(),
            every: self.every.map(Into::into),
            vacuum_after: self.vacuum_after.into(),
            output: self.output,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_flags_are_sound_and_a_run_is_single_by_default() {
        Args::command().debug_assert();
        let args = Args::parse_from(["archiver", "--cold-url", "/cold"]);
        let config = args.validate().unwrap();
        assert_eq!(config.every, None);
        assert_eq!(config.vacuum_after, Duration::from_secs(72 * 3600));
        assert_eq!(config.compactor_urls, ["http://127.0.0.1:7403"]);
    }
}
