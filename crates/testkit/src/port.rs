//! Free ports for servers.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::TcpListener,
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// The ports lie below the kernel's range for outgoing connections (32,768 on Linux). A port of
/// that range could be used, while a killed server is down, by the client that tries to reach it.
const FIRST_PORT: u16 = 12_000;
const PORT_COUNT: u16 = 20_000;

/// Returns a port that is free on 127.0.0.1 and that this process has not returned before.
///
/// # Panics
/// When no port is free.
#[must_use]
pub fn free_port() -> u16 {
    static START: OnceLock<u16> = OnceLock::new();
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = *START.get_or_init(random_start);
    for _ in 0..PORT_COUNT {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % PORT_COUNT;
        let port = FIRST_PORT + start.wrapping_add(next) % PORT_COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!(
        "no free port between {FIRST_PORT} and {}",
        FIRST_PORT + PORT_COUNT
    );
}

/// A random index to start at: test binaries run at the same time and should not try the same
/// ports.
fn random_start() -> u16 {
    let random = RandomState::new().build_hasher().finish() % u64::from(PORT_COUNT);
    u16::try_from(random).expect("the remainder is below PORT_COUNT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_returned_once() {
        let ports: std::collections::HashSet<_> = (0..100).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 100);
    }

    #[test]
    fn a_taken_port_is_skipped() {
        let taken: Vec<_> = (0..20)
            .filter_map(|_| TcpListener::bind(("127.0.0.1", free_port())).ok())
            .collect();
        for _ in 0..20 {
            let port = free_port();
            assert!(taken.iter().all(|t| t.local_addr().unwrap().port() != port));
        }
    }
}
