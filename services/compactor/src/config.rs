//! Command line arguments, and the configuration made of them.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use cold_tier::{ColdOptions, S3Options};
use event_log::NatsArgs;
use service_runtime::RuntimeArgs;

/// Keeps the warm tier: gathers the log in memory, seals it into DuckDB files, merges, serves and drops them.
#[derive(Debug, clap::Parser)]
#[command(version)]
pub struct Args {
    #[command(flatten)]
    pub log: NatsArgs,
    /// The hot tier, to which duplicates are published. Without it readers drop them themselves.
    #[arg(long, env = "ISOTHERM_REDIS_URL")]
    pub redis_url: Option<String>,
    /// The cold tier. Without it nothing is ever dropped, here or from the log.
    #[arg(long, env = "ISOTHERM_COLD_URL")]
    pub cold_url: Option<String>,
    #[command(flatten)]
    pub s3: S3Options,
    /// The folder of the segments. Only one compactor may use it.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The address at which sealed segments are served over Arrow Flight.
    #[arg(long, default_value = "127.0.0.1:7403")]
    pub flight_addr: SocketAddr,
    /// The URL at which other services reach it; http:// and the address by default.
    #[arg(long)]
    pub flight_url: Option<String>,
    /// For DuckDB: half for sealing, a quarter each for merging and for reading. Keep it below
    /// 40 % of the machine's.
    #[arg(long, default_value = "1GiB")]
    pub memory_limit: ByteSize,
    /// For the filters of event ids of the last 24 h. What does not fit is looked up on disk.
    #[arg(long, default_value = "256MiB")]
    pub dedupe_memory: ByteSize,
    /// For events that are not sealed yet, of all partitions. From half of it on the largest open part is
    /// sealed; when it is full, appends wait.
    #[arg(long, env = "ISOTHERM_OPEN_MEMORY", default_value = "512MiB")]
    pub open_memory: ByteSize,
    /// Seal the open part of a partition when it takes this much memory; at most a quarter of
    /// --memory-limit counts, so that a seal always has enough.
    #[arg(long, env = "ISOTHERM_SEAL_BYTES", default_value = "128MiB")]
    pub seal_bytes: ByteSize,
    /// Seal it when its first events have waited this long.
    #[arg(long, env = "ISOTHERM_SEAL_AFTER", default_value = "10m")]
    pub seal_after: humantime::Duration,
    /// The log keeps what is younger, even when it is in warm and cold.
    #[arg(long, default_value = "1h")]
    pub log_grace: humantime::Duration,
    /// Time between two rounds of merging, expiring and purging.
    #[arg(long, default_value = "10s")]
    pub maintenance_interval: humantime::Duration,
    /// Pass over any number of frames that cannot be read, instead of stopping at a flood of them.
    #[arg(long, env = "ISOTHERM_ACCEPT_DEAD_LETTERS")]
    pub accept_dead_letters: bool,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

/// The validated configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub nats_url: String,
    pub redis_url: Option<String>,
    pub cold: Option<(String, ColdOptions)>,
    pub warm: warm_tier::Options,
    pub flight_addr: SocketAddr,
    pub flight_url: Option<String>,
    pub seal: SealRules,
    pub log_grace: Duration,
    pub maintenance_interval: Duration,
    /// In bytes.
    pub open_memory: u64,
    pub accept_dead_letters: bool,
}

/// Limits of an open part, at which it is sealed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealRules {
    /// Bytes of memory.
    pub bytes: u64,
    /// Time since its first frame.
    pub after: Duration,
}

const BYTES_PER_MIB: u64 = 1024 * 1024;
/// Least memory limit: with less than 64 MiB in one of its three instances DuckDB fails.
const MIN_MEMORY_BYTES: u64 = 256 * BYTES_PER_MIB;

/// Least memory of open parts: twice what is taken from the log at once.
const MIN_OPEN_BYTES: u64 = 32 * BYTES_PER_MIB;

impl Args {
    /// Checks the arguments and makes the configuration.
    pub(crate) fn validate(&self) -> anyhow::Result<Config> {
        anyhow::ensure!(
            self.memory_limit.0 >= MIN_MEMORY_BYTES,
            "--memory-limit is {}, DuckDB needs at least {}MiB",
            self.memory_limit,
            MIN_MEMORY_BYTES / BYTES_PER_MIB
        );
        anyhow::ensure!(
            !self.maintenance_interval.is_zero() && self.seal_bytes.0 > 0,
            "--maintenance-interval and --seal-bytes must not be zero"
        );
        anyhow::ensure!(
            self.open_memory.0 >= MIN_OPEN_BYTES,
            "--open-memory is {}, it must be at least {}MiB",
            self.open_memory,
            MIN_OPEN_BYTES / BYTES_PER_MIB
        );
        let cold = ColdOptions::from(self.s3.clone());
        let warm = warm_tier::Options {
            data: absolute(&self.data)?,
            memory_limit: self.memory_limit.0,
            dedupe_memory: usize::try_from(self.dedupe_memory.0)?,
        };
        Ok(Config {
            nats_url: self.log.nats_url.clone(),
            redis_url: self.redis_url.clone(),
            cold: self.cold_url.clone().map(|url| (url, cold)),
            flight_addr: self.flight_addr,
            flight_url: self.flight_url.clone(),
            seal: SealRules {
                bytes: self.seal_bytes.0.min(warm.max_part_bytes()),
                after: self.seal_after.into(),
            },
            log_grace: self.log_grace.into(),
            maintenance_interval: self.maintenance_interval.into(),
            accept_dead_letters: self.accept_dead_letters,
            open_memory: self.open_memory.0,
            warm,
        })
    }
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    use anyhow::Context as _;
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}

/// A number of bytes, written as `128MiB`, `1GiB`, `64KiB` or `500B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("not a size: {text:?}; write it as 128MiB");
        let (unit, factor) = UNITS
            .iter()
            .find(|(unit, _)| text.ends_with(unit))
            .ok_or_else(refuse)?;
        let number: u64 = (text.trim_end_matches(unit).trim())
            .parse()
            .map_err(|_| refuse())?;
        number.checked_mul(*factor).map(Self).ok_or_else(refuse)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_flags_are_sound_and_data_is_all_that_is_needed() {
        Args::command().debug_assert();
        let args = Args::parse_from(["compactor", "--data", "/d"]);
        let config = args.validate().unwrap();
        assert_eq!(config.seal.bytes, 128 * BYTES_PER_MIB);
        assert_eq!(config.warm.memory_limit, 1024 * BYTES_PER_MIB);
    }

    #[test]
    fn sizes_are_read_and_written() {
        for text in ["128MiB", "1GiB", "500B", "3KiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        for text in ["", "12", "-1MiB", "1.5GiB", "99999999999TiB"] {
            text.parse::<ByteSize>().unwrap_err();
        }
    }
}
