//! `isotherm bench-load`: posts a file of events as fast as ingest accepts them, and measures when they
//! are acknowledged, when the hot tier has them, and when the warm tier has. `cargo xtask bench` runs
//! it.

mod arrival;
mod load;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Serialize;

use crate::{client::Client, common::Common, output};
use arrival::{HotCursors, WarmWatermarks};

/// Events in one request, as `isotherm append` sends them.
const REQUEST_EVENTS: usize = 500;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The events, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    events: PathBuf,
    /// The server of the hot tier, whose cursors are read.
    #[arg(long, value_name = "HOST:PORT")]
    valkey: String,
    /// The process to stop until the events are in the hot tier: the compactor, so that the hot tier is
    /// measured alone.
    #[arg(long, value_name = "PID")]
    hold: Option<i32>,
}

/// The printed result. All times count from the first request.
#[derive(Debug, Serialize)]
struct LoadTimes {
    events: usize,
    bytes: usize,
    acked_seconds: f64,
    hot_seconds: f64,
    warm_seconds: f64,
    ack_p50_ms: f64,
    ack_p99_ms: f64,
}

/// Posts the file, waits for both tiers and prints the times as JSON.
pub(crate) async fn run(args: Args, common: &Common) -> anyhow::Result<()> {
    let file = fs::read(&args.events).with_context(|| format!("read {}", args.events.display()))?;
    let bytes = file.len();
    let (events, requests) = load::requests(&Bytes::from(file), REQUEST_EVENTS);
    anyhow::ensure!(events > 0, "{} holds no event", args.events.display());

    let mut hot = HotCursors::connect(&args.valkey).await?;
    let warm = WarmWatermarks::new(Client::query(common)?);
    let ingest = Client::ingest(common)?;
    let stopped = args.hold.map(StoppedProcess::stop).transpose()?;
    let started = Instant::now();
    let load = load::post(&ingest, requests).await?;
    let acked = started.elapsed();
    anyhow::ensure!(
        load.acked == events,
        "{events} events were posted, {} acknowledged",
        load.acked
    );
    hot.wait(&load.targets).await?;
    let in_hot = started.elapsed();
    drop(stopped);
    warm.wait(&load.targets).await?;
    let times = LoadTimes {
        events,
        bytes,
        acked_seconds: acked.as_secs_f64(),
        hot_seconds: in_hot.as_secs_f64(),
        warm_seconds: started.elapsed().as_secs_f64(),
        ack_p50_ms: millis(quantile(&load.latencies, 50)),
        ack_p99_ms: millis(quantile(&load.latencies, 99)),
    };
    output::text(&(serde_json::to_string(&times)? + "\n"))?;
    Ok(())
}

/// A process under SIGSTOP until this is dropped.
struct StoppedProcess(Pid);

impl StoppedProcess {
    fn stop(process: i32) -> anyhow::Result<Self> {
        let process = Pid::from_raw(process);
        kill(process, Signal::SIGSTOP).with_context(|| format!("hold process {process}"))?;
        Ok(Self(process))
    }
}

impl Drop for StoppedProcess {
    fn drop(&mut self) {
        // It fails when the process has ended, and then waiting for the warm tier fails.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// Returns the `percent` quantile of `sorted`, by the nearest rank.
fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&values, 50), Duration::from_millis(100));
        assert_eq!(quantile(&values, 99), Duration::from_millis(198));
        assert_eq!(quantile(&values[..1], 99), Duration::from_millis(1));
        assert_eq!(quantile(&[], 99), Duration::ZERO);
    }
}
