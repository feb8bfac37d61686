//! The command-line arguments, and the configuration made of them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use event_log::NatsArgs;
use reqwest::Url;
use service_runtime::RuntimeArgs;

use crate::archiver_job::ArchiverJob;

/// Turns RetentionPolicy objects into the rules that every service follows.
#[derive(Debug, clap::Parser)]
#[command(name = "operator", version)]
pub struct Args {
    #[command(flatten)]
    log: NatsArgs,
    /// The query service: the figures of a policy's status come from there.
    #[arg(
        long,
        env = "ISOTHERM_QUERY_URL",
        default_value = "http://127.0.0.1:7402"
    )]
    query_url: Url,
    /// The namespace of the policies, of the ConfigMap and of the Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    namespace: String,
    /// The name under which this replica holds the Lease: another one for each replica.
    #[arg(long, env = "POD_NAME")]
    identity: String,
    /// The ConfigMap that shows the rules in force and what waits for its grace period.
    #[arg(long, default_value = "isotherm-rules")]
    config_map: String,
    /// The Lease that one replica holds.
    #[arg(long, default_value = "isotherm-operator")]
    lease: String,
    /// What the archiver's CronJob is made of, as JSON. Without it there is no CronJob.
    #[arg(long, env = "ISOTHERM_ARCHIVER_JOB", hide_env_values = true)]
    archiver_job: Option<ArchiverJob>,
    /// Take policies from every namespace, not only from --namespace. Each namespace needs a
    /// TenantBinding.
    #[arg(long)]
    all_namespaces: bool,
    /// The highest priority of a policy outside --namespace.
    #[arg(long, env = "ISOTHERM_MAX_PRIORITY", default_value_t = 1000)]
    max_priority: i32,
    /// The least grace period of a shortening: a policy that asks for less gets this.
    #[arg(long, env = "ISOTHERM_MIN_GRACE", default_value = "1h")]
    min_grace: humantime::Duration,
    /// Accept --min-grace 0s, with which whoever may write a policy can delete events at once.
    #[arg(long, env = "ISOTHERM_ALLOW_ZERO_GRACE")]
    allow_zero_grace: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Validated configuration of the operator.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) nats_url: String,
    pub(crate) sql_url: Url,
    pub(crate) namespace: String,
    pub(crate) identity: String,
    pub(crate) config_map: String,
    pub(crate) lease: String,
    pub(crate) archiver_job: Option<ArchiverJob>,
    pub(crate) all_namespaces: bool,
    /// The highest priority of a policy outside `namespace`.
    pub(crate) max_priority: i32,
    /// The least grace period of a shortening; zero only with `--allow-zero-grace`.
    pub(crate) min_grace: Duration,
}

/// The shortest `--min-grace` without `--allow-zero-grace`: times in Kubernetes have whole seconds.
const SHORTEST_MIN_GRACE: Duration = Duration::from_secs(1);

impl Args {
    /// Checks the arguments and resolves the URL of the SQL endpoint.
    pub(crate) fn validate(self) -> anyhow::Result<(Config, RuntimeArgs)> {
        ensure!(
            !self.identity.is_empty(),
            "--identity is empty: give each replica a name, in a pod POD_NAME"
        );
        let min_grace = Duration::from(self.min_grace);
        ensure!(
            min_grace >= SHORTEST_MIN_GRACE || self.allow_zero_grace,
            "--min-grace {} lets a policy delete events at once: write at least 1s, or add \
             --allow-zero-grace",
            self.min_grace
        );
        let sql_url = self.query_url.join("/v1/sql");
        let sql_url =
            sql_url.with_context(|| format!("--query-url {} is no http URL", self.query_url))?;
        let config = Config {
            nats_url: self.log.nats_url,
            sql_url,
            namespace: self.namespace,
            identity: self.identity,
            config_map: self.config_map,
            lease: self.lease,
            archiver_job: self.archiver_job,
            all_namespaces: self.all_namespaces,
            max_priority: self.max_priority,
            min_grace,
        };
        Ok((config, self.runtime))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn min_grace(flags: &[&str]) -> anyhow::Result<Duration> {
        let args = ["operator", "--identity=a"].iter().chain(flags);
        Ok(Args::try_parse_from(args)?.validate()?.0.min_grace)
    }

    #[test]
    fn only_a_flag_of_its_own_allows_a_grace_period_of_zero() {
        assert_eq!(min_grace(&[]).unwrap(), Duration::from_secs(3600));
        for zero in ["0s", "10ms"] {
            let refusal = min_grace(&["--min-grace", zero]).unwrap_err().to_string();
            assert!(refusal.contains("--allow-zero-grace"), "{refusal}");
        }
        let allowed = min_grace(&["--min-grace=0s", "--allow-zero-grace"]);
        assert_eq!(allowed.unwrap(), Duration::ZERO);
    }
}
