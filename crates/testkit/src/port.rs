//! Ports for servers.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::TcpListener,
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// Below the range from which the kernel takes ports for outgoing connections: such a port could
/// be taken while a killed server is down, by the very client that tries to reach it.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port that is free on 127.0.0.1 and that this process has not handed out before.
#[must_use]
pub fn free_port() -> u16 {
    static START: OnceLock<u16> = OnceLock::new();
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = *START.get_or_init(random);
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + start.wrapping_add(next) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// Test binaries run side by side; each starts elsewhere.
fn random() -> u16 {
    let random = RandomState::new().build_hasher().finish() % u64::from(COUNT);
    u16::try_from(random).expect("the remainder is below COUNT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_handed_out_once() {
        let ports: std::collections::HashSet<_> = (0..100).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 100);
    }

    #[test]
    fn a_taken_port_is_passed_over() {
        let taken: Vec<_> = (0..20)
            .filter_map(|_| TcpListener::bind(("127.0.0.1", free_port())).ok())
            .collect();
        for _ in 0..20 {
            let port = free_port();
            assert!(taken.iter().all(|t| t.local_addr().unwrap().port() != port));
        }
    }
}
