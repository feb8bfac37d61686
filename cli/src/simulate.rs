//! `isotherm simulate`: a number of agents that say what agents say, at their pace. `cargo xtask
//! demo` runs it.

mod agent;

use std::time::{Duration, Instant};

use event::Timestamp;

use crate::{
    args::Common,
    client::Client,
    output::{self, Row},
    sender::{self, Sender},
    value,
};
use agent::Agent;

const TICK: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u16).range(1..=1000))]
    agents: u16,
    /// Characters a second that each agent says.
    #[arg(long, default_value = "1000")]
    pace: u32,
    /// How long they talk.
    #[arg(long = "for", default_value = "60s", value_name = "DURATION", value_parser = value::duration)]
    duration: humantime::Duration,
    /// The same seed says the same.
    #[arg(long, default_value = "1")]
    seed: u64,
    /// Conversations are called this, a dash and a number.
    #[arg(long, default_value = "agent", value_name = "NAME")]
    prefix: String,
}

pub(crate) async fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let sender = Sender::new(Client::ingest(common)?, None);
    let names = (0..args.agents).map(|n| format!("{}-{n}", args.prefix));
    let mut agents: Vec<Agent> = names
        .zip(args.seed..)
        .map(|(name, seed)| Agent::new(name, seed))
        .collect();
    let started = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    let (mut said, mut stored) = (0, 0);
    while started.elapsed() < *args.duration {
        ticks.tick().await;
        // By the clock, so that a slow tick is made up for.
        let due = started.elapsed().as_millis() * u128::from(args.pace) / 1000;
        let now = Timestamp::now();
        let mut lines = Vec::new();
        for agent in &mut agents {
            agent.talk(due, now, &mut lines);
        }
        for batch in sender::batches(&lines) {
            stored += sender.send(batch).await?.acked;
        }
        said = due * u128::from(args.agents);
    }
    let row = Row::default()
        .with("agents", args.agents)
        .with("characters", u64::try_from(said)?)
        .with("events", stored);
    output::rows(common.output, &[row])?;
    Ok(())
}
