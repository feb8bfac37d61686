//! Command-line arguments for the address of the hot tier.

/// The flag for the hot tier's address.
#[derive(Clone, Debug, clap::Args)]
pub struct RedisArgs {
    /// The hot tier: Redis 7 or later, or Valkey.
    // Hidden from --help because the URL may hold a password.
    #[arg(
        long,
        env = "ISOTHERM_REDIS_URL",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:7423"
    )]
    pub redis_url: String,
}
