//! How long answers take, beside the same rows in one table of DuckDB, ClickHouse and SQLite: two thirds of the
//! events are sealed, one third is not.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::measure::{Bench, run_json};
use crate::{process, run};

const NO_EXTRA_ARGS: [&str; 0] = [];
/// The stores beside Isotherm, and the packages that have them. DuckDB is the version that Isotherm has.
const PACKAGES: [&str; 2] = ["duckdb==1.5.6", "chdb==4.4.0"];
const SEALS_AT_ONCE: [(&str, &str); 1] = [("ISOTHERM_SEAL_AFTER", "1s")];
const SEALS_NEVER: [(&str, &str); 2] = [
    ("ISOTHERM_SEAL_AFTER", "10h"),
    ("ISOTHERM_SEAL_BYTES", "64GiB"),
];

/// The medians of one question, by store.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Answer {
    pub(super) question: String,
    pub(super) milliseconds: BTreeMap<String, f64>,
}

/// Asks every question of all stores.
pub(super) fn measure(bench: &Bench, count: u64) -> anyhow::Result<Vec<Answer>> {
    let python = rivals(bench)?;
    bench.in_folder("answers", |dir| {
        let (sealed, open) = split(&bench.events(), dir, count * 2 / 3)?;
        let base = process::free_base()?;
        let program = bench.release.join("isotherm");
        let url = format!("http://127.0.0.1:{}", base + 2);
        let ask = |more: &[&str]| {
            let mut command = Command::new(&python);
            command.arg(run::root().join("xtask/src/bench/answers.py"));
            command
                .args(["--url", &url, "--events"])
                .arg(bench.events());
            command.args(more).env("NO_PROXY", "127.0.0.1");
            command
        };
        let store = |events: &Path, envs: &[(&str, &str)]| {
            let dev = process::isotherm_with(&program, dir, base, NO_EXTRA_ARGS, envs)?;
            load(&program, base, events)?;
            anyhow::Ok(dev)
        };
        let dev = store(&sealed, &SEALS_AT_ONCE)?;
        run::check(ask(&["--until-sealed"]))?;
        dev.stop()?;
        let dev = store(&open, &SEALS_NEVER)?;
        let printed = run::output(ask(&[]))?;
        dev.stop()?;
        let lines = printed.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).context("read an answer"))
            .collect()
    })
}

/// Stores `events` and waits until all tiers have them.
fn load(program: &Path, base: u16, events: &Path) -> anyhow::Result<()> {
    let local = |distance: u16| format!("127.0.0.1:{}", base + distance);
    let mut load = Command::new(program);
    load.args(["--ingest-url", &format!("http://{}", local(1))]);
    load.args(["--url", &format!("http://{}", local(2))]);
    load.args(["bench-load", "--valkey", &local(23), "--events"]);
    load.arg(events).env("NO_PROXY", "127.0.0.1");
    run_json::<serde_json::Value>(load).map(drop)
}

/// Copies the first `lines` lines to one file and the others to another.
fn split(events: &Path, dir: &Path, lines: u64) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (first, rest) = (dir.join("sealed.ndjson"), dir.join("open.ndjson"));
    let mut writers = [&first, &rest].map(|path| File::create(path).map(BufWriter::new));
    let events = BufReader::new(File::open(events)?);
    for (number, line) in (0..).zip(events.lines()) {
        let [first, rest] = &mut writers;
        let writer = if number < lines { first } else { rest };
        let writer = writer.as_mut().ok().context("create a file of events")?;
        writeln!(writer, "{}", line?)?;
    }
    for writer in writers {
        writer?.flush()?;
    }
    Ok((first, rest))
}

/// A Python with the other stores, below the target directory.
fn rivals(bench: &Bench) -> anyhow::Result<PathBuf> {
    let target = bench.release.parent().context("the target directory")?;
    let dir = target.join("bench-python");
    let python = dir.join("bin/python");
    let installed = dir.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|names| names == PACKAGES.join(" ")) {
        return Ok(python);
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&dir);
    run::check(venv)?;
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet"])
        .args(PACKAGES);
    run::check(install)?;
    fs::write(installed, PACKAGES.join(" "))?;
    Ok(python)
}

/// The table of the answers of one number of events.
pub(super) fn table(count: u64, answers: &[Answer]) -> anyhow::Result<String> {
    const STORES: [&str; 4] = ["isotherm", "duckdb", "clickhouse", "sqlite"];
    ensure!(!answers.is_empty(), "no question was answered");
    let mut text = format!(
        "{count} events, a third not sealed; medians in ms\n{:<20}",
        ""
    );
    STORES
        .iter()
        .for_each(|store| text += &format!("{store:>12}"));
    text += &format!("{:>12}\n", "x duckdb");
    for Answer {
        question,
        milliseconds,
    } in answers
    {
        let of = |store: &str| milliseconds.get(store).copied().unwrap_or(f64::NAN);
        write!(text, "{question:<20}")?;
        for store in STORES {
            write!(text, "{:>12.1}", of(store))?;
        }
        writeln!(text, "{:>11.1}x", of("isotherm") / of("duckdb"))?;
    }
    Ok(text)
}
