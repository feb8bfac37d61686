//! The flags that every command takes.

use event_log::NatsArgs;
use url::Url;

use crate::{output::Format, value};

/// The flags of every command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
    /// The format of answers.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// The query service.
    #[arg(
        long,
        global = true,
        env = "ISOTHERM_URL",
        value_parser = value::query_url,
        default_value = "http://127.0.0.1:7402"
    )]
    pub(crate) url: Url,
    /// The ingest service.
    #[arg(
        long,
        global = true,
        env = "ISOTHERM_INGEST_URL",
        value_parser = value::ingest_url,
        default_value = "http://127.0.0.1:7401"
    )]
    pub(crate) ingest_url: Url,
    #[command(flatten)]
    pub(crate) log: NatsArgs,
}
