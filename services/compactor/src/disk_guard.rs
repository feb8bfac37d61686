//! Stops appends before the disk is full: DuckDB does not survive a full disk.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use nix::sys::statvfs::statvfs;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Free space below which appends stop: less than the share and less than the bytes, because 15 % of
/// a large disk is enough.
const STOP_BELOW: FreeSpace = FreeSpace {
    share: 0.15,
    bytes: 4 << 30,
};
/// Free space, by either value, from which appends resume. Above [`STOP_BELOW`], so that they do not
/// flap.
const RESUME_FROM: FreeSpace = FreeSpace {
    share: 0.20,
    bytes: 6 << 30,
};

/// The free space of a volume.
#[derive(Clone, Copy, Debug)]
struct FreeSpace {
    /// From 0 to 1.
    share: f64,
    bytes: u64,
}

/// Decides whether appends are allowed, by the free space and the decision before. Pure.
fn allows_appends(free: FreeSpace, were_allowed: bool) -> bool {
    let needed = if were_allowed {
        STOP_BELOW
    } else {
        RESUME_FROM
    };
    free.share >= needed.share || free.bytes >= needed.bytes
}

/// Watches the free space of the volume of `data` and sends whether appends are allowed.
pub(crate) async fn watch(
    data: PathBuf,
    appends_allowed: watch::Sender<bool>,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut ticks = time::interval(CHECK_INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let free = free_space(&data).context("read free space")?;
        metrics.disk_free_share.set(free.share);
        let now = allows_appends(free, *appends_allowed.borrow());
        let changed = appends_allowed.send_if_modified(|old| std::mem::replace(old, now) != now);
        match (changed, now) {
            (true, false) => {
                tracing::warn!(free.bytes, "disk is nearly full, takes no more events")
            }
            (true, true) => tracing::info!(free.bytes, "disk has room again"),
            (false, _) => {}
        }
    }
}

fn free_space(path: &std::path::Path) -> nix::Result<FreeSpace> {
    let stat = statvfs(path)?;
    let (free, all) = (stat.blocks_available(), stat.blocks().max(1));
    Ok(FreeSpace {
        share: share(free, all),
        bytes: free.saturating_mul(stat.fragment_size()),
    })
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a share needs no more than a few digits"
)]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(share: f64, gib: u64) -> FreeSpace {
        FreeSpace {
            share,
            bytes: gib << 30,
        }
    }

    #[test]
    fn appends_stop_below_15_percent_and_resume_above_20() {
        assert!(allows_appends(free(0.16, 1), true));
        assert!(!allows_appends(free(0.14, 1), true));
        assert!(!allows_appends(free(0.16, 1), false));
        assert!(allows_appends(free(0.21, 1), false));
    }

    #[test]
    fn a_large_disk_is_not_full_while_gigabytes_are_free() {
        assert!(allows_appends(free(0.02, 5), true));
        assert!(!allows_appends(free(0.02, 5), false));
        assert!(allows_appends(free(0.02, 6), false));
    }
}
