//! The command line, and the configuration that is parsed from it.

use std::net::SocketAddr;

use event::PartitionCount;
use event_log::NatsArgs;
use service_runtime::RuntimeArgs;

use crate::body::MIN_BUDGET_BYTES;

/// Accepts events over HTTP and answers when the log has them.
#[derive(Debug, clap::Parser)]
#[command(name = "ingest", version)]
pub struct Args {
    /// Address of the HTTP interface.
    #[arg(long, env = "ISOTHERM_LISTEN", default_value = "0.0.0.0:7401")]
    listen: SocketAddr,
    #[command(flatten)]
    log: NatsArgs,
    /// Where each nats-server answers /varz, separated by commas: ingest starts only when it has
    /// seen that every write is synced.
    #[arg(long, env = "ISOTHERM_NATS_MONITOR_URL", value_delimiter = ',')]
    nats_monitor_url: Vec<String>,
    /// How many partitions the log has. Fixed for ever by the first start.
    #[arg(long, env = "ISOTHERM_PARTITIONS", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    partitions: u16,
    /// On how many NATS servers each event is kept; 1 is for a single server.
    #[arg(long, env = "ISOTHERM_LOG_REPLICAS", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    log_replicas: u8,
    /// The largest log of one partition, in bytes or as 64MiB; full, it takes nothing until the
    /// tiers have caught up. Without it, the disk of the NATS server is the limit.
    #[arg(long, env = "ISOTHERM_LOG_MAX_BYTES", value_parser = bytes)]
    log_max_bytes: Option<i64>,
    /// Start although the log may lose what it acknowledges. For a laptop.
    #[arg(long, env = "ISOTHERM_ALLOW_UNSAFE_LOG")]
    allow_unsafe_log: bool,
    /// Most requests that are processed at the same time; others wait.
    #[arg(long, env = "ISOTHERM_MAX_REQUESTS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    max_requests: u16,
    /// Memory for requests, in bytes or as 384MiB: a sixth for bodies that arrive, the rest for bodies
    /// that are processed, which take four times their decompressed size; small ones do not wait for
    /// large ones. What does not fit waits, and is
    /// answered 503 after 5 s.
    #[arg(long, env = "ISOTHERM_REQUEST_MEMORY", value_parser = bytes, default_value = "384MiB")]
    request_memory: i64,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// The validated configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) nats_url: String,
    pub(crate) monitor_urls: Vec<String>,
    pub(crate) partitions: PartitionCount,
    pub(crate) log_replicas: usize,
    pub(crate) log_max_bytes: Option<i64>,
    pub(crate) allow_unsafe_log: bool,
    pub(crate) max_requests: usize,
    pub(crate) request_memory: usize,
}

impl Args {
    /// Validates the arguments; an error names the flag.
    pub(crate) fn validate(self) -> anyhow::Result<(Config, RuntimeArgs)> {
        anyhow::ensure!(
            matches!(self.log_replicas, 1 | 3 | 5) || self.allow_unsafe_log,
            "--log-replicas {} survives no more failures than one less; use 1, 3 or 5",
            self.log_replicas
        );
        let request_memory = usize::try_from(self.request_memory).unwrap_or(usize::MAX);
        anyhow::ensure!(
            request_memory >= MIN_BUDGET_BYTES,
            "--request-memory must be at least {}MiB, for one of the largest requests",
            MIN_BUDGET_BYTES >> 20
        );
        let config = Config {
            listen: self.listen,
            nats_url: self.log.nats_url,
            monitor_urls: self.nats_monitor_url,
            partitions: PartitionCount::new(self.partitions).expect("the range was checked"),
            log_replicas: self.log_replicas.into(),
            log_max_bytes: self.log_max_bytes,
            allow_unsafe_log: self.allow_unsafe_log,
            max_requests: self.max_requests.into(),
            request_memory,
        };
        Ok((config, self.runtime))
    }
}

/// Parses a size in bytes: `1048576`, `64KiB`, `64MiB`, `64GiB`.
fn bytes(text: &str) -> Result<i64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let unit = units.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, shift) = match unit {
        Some((unit, shift)) => (text.trim_end_matches(unit), *shift),
        None => (text, 0),
    };
    number
        .trim()
        .parse::<i64>()
        .ok()
        .filter(|number| *number > 0)
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "write it as a number of bytes or with KiB, MiB, GiB or TiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("1"), Ok(1));
        for wrong in ["", "0", "-1", "64MB", "MiB", "9999999999TiB"] {
            bytes(wrong).unwrap_err();
        }
    }
}
