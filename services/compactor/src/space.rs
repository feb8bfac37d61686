//! Stops the intake before the disk is full: DuckDB does not survive a full one.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use nix::sys::statvfs::statvfs;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

const INTERVAL: Duration = Duration::from_secs(5);
/// Below this share nothing more is taken.
const STOP: f64 = 0.15;
/// Above it the intake goes on.
const RESUME: f64 = 0.20;

/// Whether to take more, given the free share and what was decided before. Pure.
fn may_take(free: f64, taking: bool) -> bool {
    free >= if taking { STOP } else { RESUME }
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
        let free = free_share(&data).context("read free space")?;
        metrics.disk_free_share.set(free);
        let now = may_take(free, *taking.borrow());
        let changed = taking.send_if_modified(|old| std::mem::replace(old, now) != now);
        match (changed, now) {
            (true, false) => tracing::warn!(free, "disk is nearly full, takes no more events"),
            (true, true) => tracing::info!(free, "disk has room again"),
            (false, _) => {}
        }
    }
}

fn free_share(path: &std::path::Path) -> nix::Result<f64> {
    let stat = statvfs(path)?;
    let (free, all) = (stat.blocks_available(), stat.blocks().max(1));
    Ok(share(free, all))
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

    #[test]
    fn the_intake_stops_below_15_percent_and_goes_on_above_20() {
        assert!(may_take(0.16, true));
        assert!(!may_take(0.14, true));
        assert!(!may_take(0.16, false));
        assert!(may_take(0.21, false));
    }
}
