//! `cargo xtask demo`: the whole product on real output, with days of retention in two minutes.
//!
//! Starts `isotherm dev` with accelerated time, streams the output of real programs and of simulated
//! agents into it, waits until one conversation is in all three tiers, and prints what each tier has.

mod bars;
mod feed;
mod policy;
mod report;
mod view;

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{
    process::{self, Process},
    run::{self, step},
    setup,
};
use bars::Bars;
use view::View;

/// An hour of a policy takes a second.
const ACCELERATE: &str = "3600x";
/// Ten seconds of real time.
const ARCHIVE_EVERY: &str = "10h";
/// How long the demo waits for one conversation to be in all tiers.
const DEMO_TIMEOUT: Duration = Duration::from_secs(150);
/// Enough for the archiver to sample cold files twice.
const MIN_DEMO_TIME: Duration = Duration::from_secs(75);
/// Time between two updates of the bars.
const BAR_REFRESH_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Number of simulated agents, each writing 1000 characters a second.
    #[arg(long, default_value = "10")]
    agents: u16,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    step("setup", setup::run)?;
    let program = step("build", build)?;
    let dir = folder()?;
    let base = process::free_base()?;
    let (dev, view) = step("start isotherm dev", || start(program, &dir, base))?;
    let shown = show(args, &view);
    if shown.is_err() {
        run::say(&format!("the data and the logs are in {}", dir.display()));
        return shown;
    }
    if args.keep {
        run::say(&format!(
            "\nleft running until Ctrl-C, with the data in {}\n  export {}",
            dir.display(),
            view.exports()
        ));
        return dev.wait();
    }
    dev.stop()?;
    fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))
}

/// Builds all programs; returns the path of `isotherm`, with the others in the same folder.
fn build() -> anyhow::Result<PathBuf> {
    run::check(run::cargo(&["build", "--workspace", "--bins"]))?;
    Ok(process::target_folder()?.join("debug/isotherm"))
}

fn folder() -> anyhow::Result<PathBuf> {
    let name = format!("isotherm-demo-{}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

fn start(program: PathBuf, dir: &std::path::Path, base: u16) -> anyhow::Result<(Process, View)> {
    let file = dir.join("policy.yaml");
    fs::write(&file, policy::yaml()?).with_context(|| format!("write {}", file.display()))?;
    let more = [
        "--accelerate".into(),
        ACCELERATE.into(),
        "--archive-every".into(),
        ARCHIVE_EVERY.into(),
        "--policy".into(),
        file.into_os_string(),
    ];
    let dev = process::isotherm(&program, dir, base, more)?;
    Ok((dev, View::new(program, base)))
}

fn show(args: &Args, view: &View) -> anyhow::Result<()> {
    run::say(policy::SENTENCE);
    let feeds = feed::start(view, args.agents)?;
    let names: Vec<&str> = feeds.iter().map(|feed| feed.name.as_str()).collect();
    run::say(&format!("streaming side by side: {}\n", names.join(", ")));
    let (conversation, waited) = wait_for_all_tiers(view, &feeds)?;
    print(&report::live(view, &conversation)?)?;
    // No new events while the counts are compared.
    for feed in feeds {
        feed.stop()?;
    }
    print(&report::sums(view)?)?;
    let seconds = waited.as_secs_f64();
    run::say(&format!("\nshown after {seconds:.0} s of streaming"));
    Ok(())
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).context("write to stdout")
}

/// Waits until one conversation is answered from hot, warm and cold at once, and until some of the old
/// output is sampled; returns the conversation and the time that it took.
fn wait_for_all_tiers(view: &View, feeds: &[feed::Feed]) -> anyhow::Result<(String, Duration)> {
    let started = Instant::now();
    let mut bars = Bars::new();
    while started.elapsed() < DEMO_TIMEOUT {
        std::thread::sleep(BAR_REFRESH_INTERVAL);
        let tiers = view.tiers()?;
        bars.show(&tiers, started.elapsed());
        if started.elapsed() < MIN_DEMO_TIME || tiers.iter().any(|tier| tier.events == 0) {
            continue;
        }
        if !view.is_sampled()? {
            continue;
        }
        // The agents write most; they are last in the list.
        for feed in feeds
            .iter()
            .rev()
            .filter_map(|feed| feed.conversation.as_deref())
        {
            if view.is_in_all_tiers(feed)? {
                bars.finish();
                return Ok((feed.to_owned(), started.elapsed()));
            }
        }
    }
    bars.finish();
    bail!(
        "no conversation was in all three tiers, with its oldest part sampled, within {} s",
        DEMO_TIMEOUT.as_secs()
    )
}
