//! `isotherm simulate`: simulated agents that emit typical events at a fixed pace. `cargo xtask demo`
//! runs it.

mod agent;

use std::time::{Duration, Instant};

use event::Timestamp;

use crate::{
    client::Client,
    common::Common,
    output::{self, Row},
    sender::{self, Sender},
    value,
};
use agent::Agent;

/// Interval between two batches of events.
const TICK_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u16).range(1..=1000))]
    agents: u16,
    /// Characters a second of each agent.
    #[arg(long, default_value = "1000")]
    pace: u32,
    /// The time for which they run.
    #[arg(long = "for", default_value = "60s", value_name = "DURATION", value_parser = value::duration)]
    duration: humantime::Duration,
    /// The same seed gives the same text.
    #[arg(long, default_value = "1")]
    seed: u64,
    /// Conversations are called this, a dash and a number.
    #[arg(long, default_value = "agent", value_name = "NAME")]
    prefix: String,
}

/// Runs the agents for the given time and prints what was stored.
pub(crate) async fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let sender = Sender::new(Client::ingest(common)?, None);
    let names = (0..args.agents).map(|n| format!("{}-{n}", args.prefix));
    let mut agents: Vec<Agent> = names
        .zip(args.seed..)
        .map(|(name, seed)| Agent::new(name, seed))
        .collect();
    let started = Instant::now();
    let mut ticks = tokio::time::interval(TICK_INTERVAL);
    let (mut characters, mut stored) = (0, 0);
    while started.elapsed() < *args.duration {
        ticks.tick().await;
        // By elapsed time, so that a slow tick is caught up.
        let due = started.elapsed().as_millis() * u128::from(args.pace) / 1000;
        let now = Timestamp::now();
        let mut lines = Vec::new();
        for agent in &mut agents {
            agent.emit_until(due, now, &mut lines);
        }
        for batch in sender::batches(&lines) {
            stored += sender.send(batch).await?.acked;
        }
        characters = due * u128::from(args.agents);
    }
    let row = Row::default()
        .with("agents", args.agents)
        .with("characters", u64::try_from(characters)?)
        .with("events", stored);
    output::rows(common.output, &[row])?;
    Ok(())
}
