//! `cargo xtask bench`: the rate at which this machine stores events, compared with one XADD per event.
//!
//! One call measures the same events three times: through all of Isotherm as `isotherm dev` starts it;
//! the same with the warm tier stopped until they are in the hot tier; and through a plain pipeline
//! into a server of the same configuration.

mod answers;
mod cpu;
mod events;
mod figures;
mod measure;
mod servers;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::{run::step, setup};
use events::Generator;
use figures::{Report, Run};
use measure::Bench;

/// Seed of the generator: every bench posts the same events.
const GENERATOR_SEED: u64 = 1;
/// Goal: events reach the hot tier at least this many times faster than by one XADD each, while the
/// warm tier is written too.
const MIN_SPEEDUP: f64 = 1.5;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// 300,000 events instead of 1,000,000.
    #[arg(long)]
    quick: bool,
    /// Number of events of one run.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// Number of runs; the medians are reported.
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Ask instead of storing: SQL and lists, beside the same events in DuckDB, ClickHouse and SQLite.
    #[arg(long)]
    answers: bool,
    /// Write the figures of all runs to this file, as JSON.
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
    let bytes = step(&format!("write {count} events"), || {
        write_events(&bench, count)
    })?;
    if args.answers {
        return answer(&bench, count, args.json.as_deref());
    }
    let mut runs: Vec<Run> = Vec::new();
    for n in 1..=args.runs {
        let name = format!("run {n} of {}", args.runs);
        runs.push(step(&name, || bench.run(count))?);
    }
    bench.remove();
    let report = Report::new(count, bytes, runs);
    if let Some(path) = &args.json {
        let json = serde_json::to_vec_pretty(&report.json())?;
        fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    let (ratio, alone) = (report.ratio(), report.ratio_alone());
    let text = format!(
        "\n{}\nhot / one XADD per event: {ratio:.2}x, alone {alone:.2}x (goal >= {MIN_SPEEDUP:.1}x)\n",
        report.table()
    );
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).context("write to stdout")?;
    if ratio < MIN_SPEEDUP {
        bail!("the goal is missed: {ratio:.2}x");
    }
    Ok(())
}

/// Measures the answers and prints their table.
fn answer(bench: &Bench, count: u64, json: Option<&Path>) -> anyhow::Result<()> {
    let answers = step("ask all stores", || answers::measure(bench, count))?;
    bench.remove();
    if let Some(path) = json {
        let json = serde_json::to_vec_pretty(&answers)?;
        fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    let text = format!("\n{}", answers::table(count, &answers)?);
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("write to stdout")
}

/// Writes the events to a file; returns its length in bytes.
fn write_events(bench: &Bench, count: u64) -> anyhow::Result<u64> {
    let mut generator = Generator::new(GENERATOR_SEED);
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
