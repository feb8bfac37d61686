//! Flags (or environment variables) of the executor, and their validation.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::ensure;
use service_runtime::RuntimeArgs;

use crate::process::ProcessSettings;

/// Runs SQL statements beside the files of a compactor, each in a locked process.
#[derive(Debug, clap::Parser)]
#[command(name = "executor", version)]
pub struct Args {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// The address at which statements are taken, over Arrow Flight.
    #[arg(long, default_value = "127.0.0.1:7405")]
    pub listen: SocketAddr,
    /// The data folder of the compactor; it is only read.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// URL of the compactor, which has what is not sealed.
    #[arg(long, default_value = "http://127.0.0.1:7403")]
    pub compactor_url: String,
    /// Bytes of memory of DuckDB in each process, which may take twice as much and 1 GiB.
    #[arg(long, env = "ISOTHERM_SQL_MEMORY_BYTES", default_value_t = 2 << 30)]
    pub memory_bytes: u64,
    /// Threads of each process.
    #[arg(long, default_value_t = 2)]
    pub threads: u16,
    /// Processes at a time; further statements wait.
    #[arg(long, default_value_t = 4)]
    pub processes: usize,
}

/// Validated configuration. Built only by [`Args::validate`].
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) compactor_url: String,
    pub(crate) processes: usize,
    pub(crate) process: ProcessSettings,
}

impl Args {
    /// Checks the flags and turns them into a configuration.
    ///
    /// # Errors
    ///
    /// A flag is out of its bounds; the message names it and the bound.
    pub(crate) fn validate(&self) -> anyhow::Result<Config> {
        ensure!(
            self.memory_bytes >= 64 << 20,
            "--memory-bytes must be at least 64 MiB (67108864)"
        );
        ensure!(
            self.threads > 0 && self.processes > 0,
            "--threads and --processes must be at least 1"
        );
        Ok(Config {
            listen: self.listen,
            compactor_url: self.compactor_url.clone(),
            processes: self.processes,
            process: ProcessSettings {
                data: std::path::absolute(&self.data)?,
                memory_bytes: self.memory_bytes,
                threads: self.threads,
            },
        })
    }
}
