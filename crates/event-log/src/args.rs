//! The command line arguments by which every program finds the log.

#[derive(Clone, Debug, clap::Args)]
pub struct NatsArgs {
    /// The event log, which also keeps the policies: the NATS server, or servers separated by commas.
    // The value is hidden from `--help` because it may contain a password.
    #[arg(
        long,
        global = true,
        env = "ISOTHERM_NATS_URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:7422"
    )]
    pub nats_url: String,
}
