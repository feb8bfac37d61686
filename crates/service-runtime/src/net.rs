//! Listeners, and the limit of open files.

use std::net::SocketAddr;

use anyhow::anyhow;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;

/// Binds a TCP listener at `addr`; `what` names it in the error.
///
/// # Errors
/// The address cannot be bound: `bind <what> to <addr>: address in use`. Fail the start.
pub async fn bind(what: &str, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .map_err(|error| anyhow!("bind {what} to {addr}: {}", error.kind()))
}

/// Raises the limit of open files to the hard limit. The usual soft limit of 1024 is meant for programs
/// that use `select`.
pub(crate) fn raise_open_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "open file limit not raised");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = bind("first", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = taken.local_addr().unwrap();

        let error = bind("second", addr).await.unwrap_err();

        assert_eq!(
            error.to_string(),
            format!("bind second to {addr}: address in use")
        );
    }
}
