//! The entry point of a service: the tokio runtime, and an error as one line and an exit status.

use std::{future::Future, io::Write as _, process::ExitCode, time::Duration};

use crate::telemetry;

/// The longest that abandoned blocking work may delay the exit.
const BLOCKING_GRACE: Duration = Duration::from_secs(2);

/// Runs `service` to its end on a multi-threaded runtime and returns the exit status of the process.
///
/// An error ends in one line on stderr, `error: bind admin server to 127.0.0.1:7411: address in
/// use`, and exit status 1.
pub fn main<F>(service: impl FnOnce() -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let result = run(service);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed, the error cannot be reported at all.
            let _ = writeln!(std::io::stderr(), "error: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn run<F>(service: impl FnOnce() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    // Boxed, because the future of a whole service is large for the main thread's stack.
    let result = runtime.block_on(Box::pin(async {
        let result = service().await;
        telemetry::flush().await;
        result
    }));
    runtime.shutdown_timeout(BLOCKING_GRACE);
    result
}

/// The chain of contexts, joined by `: `. A cause that the line ends with already is left out.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let cause = cause.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.ends_with(&cause) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&cause);
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_contexts() {
        let error = Err::<(), _>(anyhow::anyhow!("address\n in use"))
            .context("bind admin server")
            .context("start")
            .unwrap_err();
        assert_eq!(one_line(&error), "start: bind admin server: address in use");
    }

    #[test]
    fn a_cause_is_not_repeated() {
        let error = anyhow::anyhow!("timed out").context("connect to nats: timed out");
        assert_eq!(one_line(&error), "connect to nats: timed out");
    }
}
