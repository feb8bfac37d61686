//! How a program is told where the hot tier is.

#[derive(Clone, Debug, clap::Args)]
pub struct RedisArgs {
    /// The hot tier: Redis 7 or later, or Valkey.
    // It may hold a password.
    #[arg(
        long,
        env = "ISOTHERM_REDIS_URL",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:7423"
    )]
    pub redis_url: String,
}
