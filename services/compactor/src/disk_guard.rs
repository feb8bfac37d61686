//! Stops the intake before the disk is full: DuckDB does not survive a full one.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use nix::sys::statvfs::statvfs;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

const INTERVAL: Duration = Duration::from_secs(5);
/// Nothing more is taken below this share, unless the second, in bytes, is still free: 15 % of a
/// large disk is no emergency.
const STOP: Free = Free {
    share: 0.15,
    bytes: 4 << 30,
};
/// From here on the intake goes on.
const RESUME: Free = Free {
    share: 0.20,
    bytes: 6 << 30,
};

/// What of a volume is free.
#[derive(Clone, Copy, Debug)]
struct Free {
    share: f64,
    bytes: u64,
}

/// Whether to take more, given what is free and what was decided before. Pure.
fn may_take(free: Free, taking: bool) -> bool {
    let needed = if taking { STOP } else { RESUME };
    free.share >= needed.share || free.bytes >= needed.bytes
}

/// Watches the free space below `data` and says by `taking` whether to go on.
pub(crate) async fn watch(
    data: PathBuf,
    taking: watch::Sender<bool>,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut ticks = time::interval(INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let free = free_space(&data).context("read free space")?;
        metrics.disk_free_share.set(free.share);
        let now = may_take(free, *taking.borrow());
        let changed = taking.send_if_modified(|old| std::mem::replace(old, now) != now);
        match (changed, now) {
            (true, false) => {
                tracing::warn!(free.bytes, "disk is nearly full, takes no more events")
            }
            (true, true) => tracing::info!(free.bytes, "disk has room again"),
            (false, _) => {}
        }
    }
}

fn free_space(path: &std::path::Path) -> nix::Result<Free> {
    let stat = statvfs(path)?;
    let (free, all) = (stat.blocks_available(), stat.blocks().max(1));
    Ok(Free {
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

    fn free(share: f64, gib: u64) -> Free {
        Free {
            share,
            bytes: gib << 30,
        }
    }

    #[test]
    fn the_intake_stops_below_15_percent_and_goes_on_above_20() {
        assert!(may_take(free(0.16, 1), true));
        assert!(!may_take(free(0.14, 1), true));
        assert!(!may_take(free(0.16, 1), false));
        assert!(may_take(free(0.21, 1), false));
    }

    #[test]
    fn a_large_disk_is_not_full_while_gigabytes_are_free() {
        assert!(may_take(free(0.02, 5), true));
        assert!(!may_take(free(0.02, 5), false));
        assert!(may_take(free(0.02, 6), false));
    }
}
