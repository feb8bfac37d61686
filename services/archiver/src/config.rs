//! The command line, and the configuration made of it.

use std::time::Duration;

use anyhow::ensure;
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
    /// End a run that takes longer, with an error; what it has committed stays, and the next run goes on behind
    /// it. At most 6h.
    #[arg(long, default_value = "6h")]
    pub run_timeout: humantime::Duration,
    /// Delete objects that nothing has named for this long; at least 7h, which is longer than any query
    /// and any run.
    #[arg(long, default_value = "72h")]
    pub vacuum_after: humantime::Duration,
    /// Most bytes of rows in one file of the cold tier, and in one step of a rewrite. A run takes up to
    /// eight times as much memory.
    #[arg(long, env = "ISOTHERM_FILE_MEMORY_BYTES", default_value_t = 128 << 20)]
    pub file_memory_bytes: u64,
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
    pub(crate) run_timeout: Duration,
    pub(crate) vacuum_after: Duration,
    /// Bytes.
    pub(crate) file_memory: u64,
    pub(crate) output: Option<Output>,
}

/// The same as `activeDeadlineSeconds` of the chart.
const MAX_RUN_TIMEOUT: Duration = Duration::from_secs(6 * 3600);
/// A run is ended after [`MAX_RUN_TIMEOUT`], and a query that began to read at the end of that time has ended
/// within an hour.
const MIN_VACUUM_AFTER: Duration = Duration::from_secs(7 * 3600);
/// Below this the overhead of a file is most of it.
const MIN_FILE_MEMORY: u64 = 64 << 10;

impl Args {
    pub(crate) fn validate(&self) -> anyhow::Result<Config> {
        ensure!(
            self.every.is_none_or(|every| !every.is_zero()),
            "--every must not be zero"
        );
        ensure!(
            self.file_memory_bytes >= MIN_FILE_MEMORY,
            "--file-memory-bytes is {}; it must be at least {MIN_FILE_MEMORY}",
            self.file_memory_bytes
        );
        let run_timeout = Duration::from(self.run_timeout);
        ensure!(
            !run_timeout.is_zero() && run_timeout <= MAX_RUN_TIMEOUT,
            "--run-timeout is {}; it must be more than 0s and at most {}, which --vacuum-after counts on",
            self.run_timeout,
            humantime::format_duration(MAX_RUN_TIMEOUT)
        );
        let vacuum_after = Duration::from(self.vacuum_after);
        ensure!(
            vacuum_after >= MIN_VACUUM_AFTER,
            "--vacuum-after is {}; it must be at least {}, or a vacuum may delete what a run is about to \
             commit or a query still reads",
            self.vacuum_after,
            humantime::format_duration(MIN_VACUUM_AFTER)
        );
        Ok(Config {
            nats_url: self.log.nats_url.clone(),
            compactor_urls: self.compactor_url.clone(),
            cold_url: self.cold_url.clone(),
            cold: self.s3.clone().into(),
            every: self.every.map(Into::into),
            run_timeout,
            vacuum_after,
            file_memory: self.file_memory_bytes,
            output: self.output,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn an_object_is_kept_longer_than_any_run_and_any_query() {
        let config = |flag, time| {
            let flags = ["archiver", "--cold-url", "/cold", flag, time];
            Args::parse_from(flags).validate()
        };
        let error = config("--vacuum-after", "6h 59m").unwrap_err();
        assert!(error.to_string().contains("at least 7h"), "{error}");
        let least = config("--vacuum-after", "7h").unwrap();
        assert_eq!(least.vacuum_after, MIN_VACUUM_AFTER);
        let error = config("--run-timeout", "6h 1s").unwrap_err();
        assert!(error.to_string().contains("at most 6h"), "{error}");
        config("--run-timeout", "0s").unwrap_err();
        let longest = config("--run-timeout", "6h").unwrap();
        assert!(longest.run_timeout < MIN_VACUUM_AFTER);
    }

    #[test]
    fn the_flags_are_sound_and_a_run_is_single_by_default() {
        Args::command().debug_assert();
        let args = Args::parse_from(["archiver", "--cold-url", "/cold"]);
        let config = args.validate().unwrap();
        assert_eq!(config.every, None);
        assert_eq!(config.vacuum_after, Duration::from_secs(72 * 3600));
        assert_eq!(config.file_memory, 128 << 20);
        assert_eq!(config.compactor_urls, ["http://127.0.0.1:7403"]);
    }
}
