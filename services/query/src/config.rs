//! Flags (or environment variables) of the query service, and their validation.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::ensure;
use cold_tier::S3Options;
use event_log::NatsArgs;
use hot_tier::RedisArgs;
use service_runtime::RuntimeArgs;
use warm_tier::sql;

use crate::memory::MIN_REQUEST_MEMORY;

#[derive(Debug, clap::Parser)]
#[command(
    name = "query",
    version,
    about = "Answers from hot, warm and cold as one"
)]
pub struct Args {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Address of the HTTP API.
    #[arg(long, env = "ISOTHERM_QUERY_LISTEN", default_value = "0.0.0.0:7402")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub log: NatsArgs,
    #[command(flatten)]
    pub hot: RedisArgs,
    /// URL at which the compactor serves the warm tier.
    #[arg(
        long,
        env = "ISOTHERM_COMPACTOR_URL",
        default_value = "http://127.0.0.1:7403"
    )]
    pub compactor_url: String,
    /// URL of the executor of SQL statements, beside the compactor.
    #[arg(
        long,
        env = "ISOTHERM_EXECUTOR_URL",
        default_value = "http://127.0.0.1:7405"
    )]
    pub executor_url: String,
    /// URL of the cold tier: s3://bucket/prefix, file:///dir or a path. Without it there is none.
    #[arg(long, env = "ISOTHERM_COLD_URL")]
    pub cold_url: Option<String>,
    #[command(flatten)]
    pub s3: S3Options,
    /// Directory that caches objects of the cold tier; without it every read downloads.
    #[arg(long, env = "ISOTHERM_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Most bytes of the cache; the least recently used objects are evicted first.
    #[arg(long, env = "ISOTHERM_CACHE_MAX_BYTES", default_value_t = 1 << 30)]
    pub cache_max_bytes: u64,
    /// Most bytes of rows that one SQL statement may read, unless it asks for less. Rows that are not read where
    /// they lie need --request-memory besides.
    #[arg(long, env = "ISOTHERM_SQL_MAX_SCAN_BYTES", default_value_t = 64 << 30)]
    pub sql_max_scan_bytes: u64,
    /// Most memory of one SQL statement.
    #[arg(long, env = "ISOTHERM_SQL_MEMORY_BYTES", default_value_t = 2 << 30)]
    pub sql_memory_bytes: u64,
    /// Most memory of the service's own process: pages, caches, and the rows that statements read.
    /// What would take more fails. Each statement runs in a process of its own, which may take
    /// twice --sql-memory-bytes and 1 GiB.
    #[arg(long, env = "ISOTHERM_MEMORY_BYTES", default_value_t = 4 << 30)]
    pub memory_bytes: u64,
    /// Memory for what requests read and answer, a part of --memory-bytes: a page, tail or statement that
    /// finds none of it waits for a moment, and is then answered with 503. By default half of
    /// --memory-bytes.
    #[arg(long, env = "ISOTHERM_REQUEST_MEMORY")]
    pub request_memory: Option<u64>,
    /// Longest run of one SQL statement, unless it asks for less.
    #[arg(long, env = "ISOTHERM_SQL_TIMEOUT", default_value = "30s")]
    pub sql_timeout: humantime::Duration,
    /// SQL statements that run at the same time.
    #[arg(long, env = "ISOTHERM_SQL_AT_ONCE", default_value_t = 2)]
    pub sql_at_once: usize,
    /// Clients that may follow conversations at the same time.
    #[arg(long, env = "ISOTHERM_MAX_TAIL_CLIENTS", default_value_t = 2000)]
    pub max_tail_clients: usize,
}

/// Validated configuration. Built only by [`Args::validate`].
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    pub nats_url: String,
    pub redis_url: String,
    pub compactor_url: String,
    pub executor_url: String,
    pub cold_url: Option<String>,
    pub s3: S3Options,
    /// Directory and most bytes of the object cache.
    pub cache: Option<(PathBuf, u64)>,
    pub sql: SqlConfig,
    pub memory_bytes: u64,
    /// Bytes for what requests read and answer.
    pub request_memory: usize,
    /// Bytes for objects of the cold tier that are being read: half of what requests leave.
    pub object_memory: u64,
    pub max_tail_clients: usize,
}

/// Limits on SQL statements.
#[derive(Clone, Copy, Debug)]
pub struct SqlConfig {
    pub max_scan_bytes: u64,
    pub max_concurrent: usize,
    pub limits: sql::Limits,
}

/// Least memory of the service: less is not enough for threads, caches and a page.
const MIN_MEMORY_BYTES: u64 = 512 << 20;

impl Args {
    /// Checks the flags and turns them into a configuration.
    ///
    /// # Errors
    ///
    /// A flag is out of its bounds; the message names it and the bound.
    pub fn validate(&self) -> anyhow::Result<Config> {
        let timeout = Duration::from(self.sql_timeout);
        ensure!(
            timeout >= Duration::from_millis(1),
            "--sql-timeout must be at least 1ms"
        );
        ensure!(self.sql_at_once > 0, "--sql-at-once must be at least 1");
        ensure!(
            self.sql_memory_bytes >= 64 << 20,
            "--sql-memory-bytes must be at least 64 MiB (67108864)"
        );
        ensure!(
            self.sql_max_scan_bytes > 0 && self.max_tail_clients > 0,
            "--sql-max-scan-bytes and --max-tail-clients must be at least 1"
        );
        ensure!(
            self.memory_bytes >= MIN_MEMORY_BYTES,
            "--memory-bytes must be at least 512 MiB (536870912)"
        );
        let request_memory = self.request_memory()?;
        let left = self.memory_bytes - u64::try_from(request_memory).expect("it fits");
        Ok(Config {
            listen: self.listen,
            nats_url: self.log.nats_url.clone(),
            redis_url: self.hot.redis_url.clone(),
            compactor_url: self.compactor_url.clone(),
            executor_url: self.executor_url.clone(),
            cold_url: self.cold_url.clone(),
            s3: self.s3.clone(),
            cache: self
                .cache_dir
                .clone()
                .map(|dir| (dir, self.cache_max_bytes)),
            sql: SqlConfig {
                max_scan_bytes: self.sql_max_scan_bytes,
                max_concurrent: self.sql_at_once,
                limits: sql::Limits {
                    memory_bytes: self.sql_memory_bytes,
                    timeout,
                    ..sql::Limits::default()
                },
            },
            memory_bytes: self.memory_bytes,
            request_memory,
            object_memory: left / 2,
            max_tail_clients: self.max_tail_clients,
        })
    }

    /// Returns the bytes for requests.
    fn request_memory(&self) -> anyhow::Result<usize> {
        let bytes = self.request_memory.unwrap_or(self.memory_bytes / 2);
        let most = self.memory_bytes / 4 * 3;
        let least = u64::try_from(MIN_REQUEST_MEMORY).expect("it fits");
        ensure!(
            (least..=most).contains(&bytes),
            "--request-memory must be at least 256 MiB (268435456) and at most three quarters of \
             --memory-bytes ({most})"
        );
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn validated(flags: &[&str]) -> anyhow::Result<Config> {
        let args = std::iter::once("query").chain(flags.iter().copied());
        Args::try_parse_from(args).unwrap().validate()
    }

    #[test]
    fn the_memory_for_requests_is_a_part_of_that_of_the_process() {
        let whole = ["--memory-bytes", "1073741824"];
        let config = validated(&whole).unwrap();
        let (requests, objects) = (config.request_memory, config.object_memory);
        assert_eq!((requests, objects), (512 << 20, 256 << 20));
        let with = |bytes| validated(&[whole[0], whole[1], "--request-memory", bytes]);
        assert_eq!(with("800000000").unwrap().request_memory, 800_000_000);
        for wrong in ["1000000", "900000000"] {
            let error = with(wrong).unwrap_err().to_string();
            assert!(error.contains("--request-memory"), "{error}");
        }
    }
}
