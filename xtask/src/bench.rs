//! `cargo xtask bench`: how fast events go in on this machine, as a ratio to one XADD per event.
//!
//! Everything is measured in one call: the same events through all of Isotherm as `isotherm dev`
//! starts it, the same while the warm tier waits until they are in the hot one, and through a plain
//! pipeline into a server of the same configuration.

mod cpu;
mod events;
mod figures;
mod measure;
mod servers;

use std::{fs, io::Write as _, path::PathBuf};

use anyhow::{Context as _, bail};

use crate::{run::step, setup};
use events::Generator;
use figures::{Report, Run};
use measure::Bench;

/// Of the generator: every bench posts the same events.
const SEED: u64 = 1;
/// The least that hot must be of one XADD per event, while the warm tier is written too.
const GOAL: f64 = 1.5;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// 300,000 events instead of 1,000,000.
    #[arg(long)]
    quick: bool,
    /// How many events are posted in one run.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// How many runs; their median counts.
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Where the figures of all runs are written, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let count = args.events.unwrap_or(match args.quick {
        true => 300_000,
        false => 1_000_000,
    });
    step("setup", setup::run)?;
    let bench = step("build for release", Bench::build)?;
    let bytes = step(&format!("write {count} events"), || write(&bench, count))?;
    let mut runs: Vec<Run> = Vec::new();
    for n in 1..=args.runs {
        let what = format!("run {n} of {}", args.runs);
        runs.push(step(&what, || bench.run(count))?);
    }
    bench.remove();
    let report = Report::new(count, bytes, runs);
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&report.json())?;
        fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    let (ratio, alone) = (report.ratio(), report.ratio_alone());
    let text = format!(
        "\n{}\nhot / one XADD per event: {ratio:.2}x, alone {alone:.2}x (goal >= {GOAL:.1}x)\n",
        report.table()
    );
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).context("write to stdout")?;
    if ratio < GOAL {
        bail!("the goal is missed: {ratio:.2}x");
    }
    Ok(())
}

/// Writes the events to a file; returns its length.
fn write(bench: &Bench, count: u64) -> anyhow::Result<u64> {
    let mut generator = Generator::new(SEED);
    let mut file = std::io::BufWriter::new(fs::File::create(bench.events())?);
    let (mut line, mut bytes) = (String::new(), 0);
    for _ in 0..count {
        line.clear();
        generator.write_next(&mut line);
        file.write_all(line.as_bytes())?;
        bytes += line.len() as u64;
    }
    file.flush()?;
    Ok(bytes)
}
