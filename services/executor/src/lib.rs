//! The executor of SQL statements: it runs beside the files of a compactor, which it only reads, and has no
//! credentials. Each statement runs in a locked process over views of the slices that query has planned, of what
//! the compactor has not sealed, and of the rows that come with the request.

mod child;
mod config;
mod flight;
mod lock_check;
mod locks;
mod pool;
mod process;
mod rows;
mod statement;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
pub use config::Args;
use prometheus::{IntGaugeVec, Opts};
use service_runtime::Runtime;
use warm_tier::remote::Client;

use crate::{flight::Server, pool::Pool, statement::Statements};

/// Entry point of the program: runs the service, or a process for a running service.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(process) = child::entry() {
        return process();
    }
    let args = Args::parse();
    service_runtime::main(|| run(args))
}

/// Runs the service until it is stopped by a signal or fails.
///
/// # Errors
///
/// A flag is wrong, an address cannot be bound, or a task fails.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let config = args.validate()?;
    let mut runtime = Runtime::start("executor", args.runtime).await?;
    // A process of a statement has the same user, and must not read our memory.
    nix::sys::prctl::set_dumpable(false).context("close the process to others")?;
    let listener = service_runtime::bind("flight server", config.listen).await?;
    let locks = IntGaugeVec::new(
        Opts::new(
            "isotherm_executor_statement_locks",
            "1 when the processes of statements have the lock",
        ),
        &["lock"],
    )?;
    runtime.registry.register(Box::new(locks.clone()))?;
    lock_check::check_locks(locks).await;
    let statements = Statements {
        data: config.process.data.clone(),
        compactor: Client::new(&config.compactor_url, None)?,
        pool: Pool::new(config.process, config.processes),
    };
    let server = Server::new(statements);
    let shutdown = runtime.shutdown();
    tracing::info!(listen = %listener.local_addr()?, "serving");
    runtime
        .tasks
        .spawn("flight", server.serve(listener, shutdown));
    runtime.join().await
}
