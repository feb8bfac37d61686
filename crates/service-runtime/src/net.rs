//! Binding a listener, with an error that a person can act on.

use std::net::SocketAddr;

use anyhow::anyhow;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;

/// Binds now, so that a taken port fails the start: `bind <what> to <addr>: address in use`.
pub async fn bind(what: &str, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .map_err(|error| anyhow!("bind {what} to {addr}: {}", error.kind()))
}

/// As many files and connections as the machine allows: the usual soft bound of 1024 is for programs
/// that count in bits.
pub(crate) fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the bound of open files stays");
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
