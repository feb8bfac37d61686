//! The command-line arguments, and the configuration made of them.

use anyhow::{Context as _, ensure};
use event_log::NatsArgs;
use reqwest::Url;
use service_runtime::RuntimeArgs;

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
    /// The namespace of the policies, of the ConfigMaps and of the Lease.
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
    /// The ConfigMap with the archiver's CronJob under the key cronjob.yaml; the operator fills in
    /// its schedule and whether it is suspended.
    #[arg(long, default_value = "isotherm-archiver")]
    archiver_template: String,
    /// Take policies from every namespace, not only from --namespace.
    #[arg(long)]
    all_namespaces: bool,
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
    pub(crate) archiver_template: String,
    pub(crate) all_namespaces: bool,
}

impl Args {
    /// Checks the arguments and resolves the URL of the SQL endpoint.
    pub(crate) fn validate(self) -> anyhow::Result<(Config, RuntimeArgs)> {
        ensure!(
            !self.identity.is_empty(),
            "--identity is empty: give each replica a name, in a pod POD_NAME"
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
            archiver_template: self.archiver_template,
            all_namespaces: self.all_namespaces,
        };
        Ok((config, self.runtime))
    }
}
