//! The parts that all service processes share: the exit status, logs and traces, the admin server,
//! signals, and the supervision of long-running tasks.
//!
//! Invariant: this crate knows nothing about events, tiers or Kubernetes, and depends on no
//! other crate of the workspace.

mod admin;
mod entry;
mod halts;
mod linger;
mod memory;
mod memory_pool;
pub mod metrics;
mod net;
mod parent_death;
mod problem;
pub mod propagation;
mod readiness;
mod retry;
mod serve;
mod tasks;
mod telemetry;

use std::time::Duration;

use anyhow::Context as _;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

pub use admin::AdminArgs;
pub use entry::main;
pub use halts::Halts;
pub use linger::Linger;
pub use memory::bound_memory;
pub use memory_pool::{MemoryPool, MemoryPressure, PoolExhausted, Reservation};
pub use net::bind;
pub use parent_death::die_with;
pub use problem::{problem, problem_response};
pub use readiness::{Check, Readiness};
pub use retry::Backoff;
pub use serve::{ClientAddr, access::AccessArgs, pace::Pace, serve};
pub use tasks::Tasks;
pub use telemetry::{LogFormat, OtlpProtocol, TelemetryArgs};

/// The flags shared by all services. Flatten it into the service's own `Args`.
#[derive(Debug, Clone, clap::Args)]
pub struct RuntimeArgs {
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
    #[command(flatten)]
    pub access: AccessArgs,
    /// How long tasks may drain after SIGTERM. Keep it below terminationGracePeriodSeconds.
    #[arg(long, env = "ISOTHERM_SHUTDOWN_GRACE", default_value = "20s")]
    pub shutdown_grace: humantime::Duration,
    /// Die when the process that started this one dies, however it dies. With `=PID` that
    /// process must still be the parent, so that a death before this line is noticed too.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    pub die_with_parent: Option<i32>,
}

/// A started process: logs are written, the admin port is bound, signals are handled.
#[derive(Debug)]
pub struct Runtime {
    /// The registry that `/metrics` serves.
    pub registry: Registry,
    pub readiness: Readiness,
    pub tasks: Tasks,
    /// For [`serve`].
    pub access: AccessArgs,
    admin: admin::Server,
    grace: Duration,
}

impl Runtime {
    /// Starts telemetry, signal handling and the admin server of `service`.
    ///
    /// The order matters: TLS needs the crypto provider, failures need the log, and a taken port must fail
    /// the start, not the first scrape.
    ///
    /// # Errors
    /// Invalid flags, a taken admin port, or a parent that has ended. End the process.
    pub async fn start(service: &'static str, args: RuntimeArgs) -> anyhow::Result<Self> {
        install_crypto_provider();
        if let Some(parent) = args.die_with_parent {
            parent_death::die_with(parent).context("tie this process to its parent")?;
        }
        telemetry::init(service, &args.telemetry).context("start telemetry")?;
        net::raise_open_file_limit();
        let shutdown = CancellationToken::new();
        tasks::cancel_on_signal(shutdown.clone()).context("install signal handlers")?;

        let registry = metrics::process_registry(service).context("register process metrics")?;
        let readiness = Readiness::default();
        let admin = admin::start(
            &args.admin,
            registry.clone(),
            readiness.clone(),
            args.access.clone(),
        )
        .await?;

        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            admin.addr = %admin.addr(),
            "started"
        );
        Ok(Self {
            registry,
            readiness,
            tasks: Tasks::new(shutdown),
            access: args.access,
            admin,
            grace: args.shutdown_grace.into(),
        })
    }

    /// Returns the token that is cancelled when the process must stop.
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.tasks.shutdown()
    }

    /// Reports ready, then waits for a signal or for the first task that ends, and drains.
    ///
    /// The admin server answers until the drain is over; `/readyz` fails with `draining` meanwhile.
    ///
    /// # Errors
    /// As [`Tasks::join`]. End the process.
    pub async fn join(self) -> anyhow::Result<()> {
        self.readiness.started();
        let draining = tokio::spawn({
            let (shutdown, readiness) = (self.shutdown(), self.readiness.clone());
            async move {
                shutdown.cancelled().await;
                readiness.draining();
            }
        });
        let result = self.tasks.join(self.grace).await;
        draining.abort();
        self.admin.stop();
        telemetry::flush().await;
        match &result {
            Ok(()) => tracing::info!("stopped"),
            Err(error) => tracing::error!(error = format!("{error:#}"), "stopped by an error"),
        }
        result
    }
}

/// Installs aws-lc-rs as the TLS provider of the process. Idempotent, so a program without a [`Runtime`]
/// (the CLI) may call it too.
pub fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread has installed it first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}
