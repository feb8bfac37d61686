//! Everything that can be typed. The help texts are the documentation.

use clap::{Parser, Subcommand};
use url::Url;

use crate::{dev, output::Format, policy};

const EXAMPLES: &str = "\
Examples:
  isotherm dev                                    start everything on this machine
  isotherm run --conversation build -- make -j4   run a program and keep what it says
  isotherm tail build                             follow it from the first byte
  isotherm get build --text                       read it again
  isotherm query \"SELECT type, count(*) FROM events GROUP BY type\"
  isotherm policy apply policies.yaml             decide how long events stay";

/// Keeps what AI agents say: the newest hour in Redis, the last week in DuckDB, everything older as
/// Parquet in your own bucket, and one answer from all of them.
#[derive(Debug, Parser)]
#[command(name = "isotherm", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The flags of every command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
    /// How answers are written.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// The query service.
    #[arg(
        long,
        global = true,
        env = "ISOTHERM_URL",
        default_value = "http://127.0.0.1:7402"
    )]
    pub(crate) url: Url,
    /// The ingest service.
    #[arg(
        long,
        global = true,
        env = "ISOTHERM_INGEST_URL",
        default_value = "http://127.0.0.1:7401"
    )]
    pub(crate) ingest_url: Url,
    /// The event log, which also keeps the policies.
    #[arg(
        long,
        global = true,
        env = "ISOTHERM_NATS_URL",
        default_value = "nats://127.0.0.1:7422"
    )]
    pub(crate) nats_url: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start all of Isotherm on this machine, until Ctrl-C.
    #[command(after_help = "Examples:
  isotherm dev                                     data in .isotherm, ports from 7400
  isotherm dev --data /srv/runs --port-base 9400
  isotherm dev --accelerate 3600x                  watch a week pass in minutes
  isotherm dev --cold s3://bucket/prefix           the cold tier in a bucket (keys by AWS_*)")]
    Dev(dev::Args),
    /// Read, check and set retention policies, without a cluster.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Become another program that dies with its parent.
    #[command(name = "__exec", hide = true)]
    Exec(dev::exec::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
