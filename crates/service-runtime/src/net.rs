//! Binding a listener, with an error that a person can act on.

use std::net::SocketAddr;

use anyhow::anyhow;
use tokio::net::TcpListener;

/// Binds now, so that a taken port fails the start: `bind <what> to <addr>: address in use`.
pub async fn bind(what: &str, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .map_err(|error| anyhow!("bind {what} to {addr}: {}", error.kind()))
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
