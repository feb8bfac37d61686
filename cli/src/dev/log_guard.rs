//! Notices that nats-server has stopped writing because its disk was full: it does not try again by itself,
//! also when there is room.

use std::{path::Path, time::Duration};

use nix::sys::statvfs::statvfs;

/// Seldom enough that restarts for this reason alone are never too many within a minute.
const CHECK_INTERVAL: Duration = Duration::from_secs(20);
/// The room with which another start is worth it.
const MIN_FREE_BYTES: u64 = 64 << 20;
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns when the server whose health is at `url` no longer writes, and there is room for it.
pub(super) async fn until_stuck_with_room(http: &reqwest::Client, url: &str, data: &Path) {
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let Some(health) = health(http, url).await else {
            continue;
        };
        let free = statvfs(data).map(|volume| volume.blocks_available() * volume.fragment_size());
        if is_stuck_with_room(&health, free.unwrap_or(0)) {
            return;
        }
    }
}

async fn health(http: &reqwest::Client, url: &str) -> Option<String> {
    let answer = http.get(url).timeout(HEALTH_TIMEOUT).send().await.ok()?;
    answer.text().await.ok()
}

/// Decides by what the server says about its health, and the free bytes of its volume. Pure.
fn is_stuck_with_room(health: &str, free_bytes: u64) -> bool {
    health.contains("write error") && free_bytes >= MIN_FREE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_no_longer_writes_is_started_again_when_there_is_room() {
        let stuck = r#"{"status":"unavailable","error":"JetStream stream '$G > EV_g1_p00_e1' write error: no space left on device"}"#;
        assert!(is_stuck_with_room(stuck, 100 << 20));
        assert!(!is_stuck_with_room(stuck, 1 << 20));
        assert!(!is_stuck_with_room(r#"{"status":"ok"}"#, 100 << 20));
    }
}
