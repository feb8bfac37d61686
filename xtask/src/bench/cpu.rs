//! CPU time of processes, from /proc.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;

/// Unit of CPU time in /proc: USER_HZ, which is 100 on x86-64.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of each child of one process, by the name of its program.
pub(super) type CpuSeconds = BTreeMap<String, f64>;

/// CPU time that the children of `parent` have used so far.
pub(super) fn of_children(parent: u32) -> anyhow::Result<CpuSeconds> {
    let mut times = CpuSeconds::new();
    for stat in children(parent)? {
        *times.entry(stat.name).or_default() += stat.seconds;
    }
    Ok(times)
}

/// Process id of the child of `parent` that runs the program `name`.
pub(super) fn child(parent: u32, name: &str) -> anyhow::Result<u32> {
    let child = children(parent)?.find(|stat| stat.name == name);
    Ok(child
        .with_context(|| format!("{name} does not run"))?
        .process)
}

fn children(parent: u32) -> anyhow::Result<impl Iterator<Item = Stat>> {
    let entries = fs::read_dir("/proc").context("read /proc")?;
    // A process may end between the listing and the read.
    let stats = entries.filter_map(|entry| read(&entry.ok()?.path()));
    Ok(stats.filter(move |stat| stat.parent == parent))
}

/// CPU seconds that one process has used so far.
pub(super) fn of(process: u32) -> anyhow::Result<f64> {
    let stat = read(Path::new(&format!("/proc/{process}")));
    Ok(stat.context("read the process's /proc/PID/stat")?.seconds)
}

/// CPU time used between two measurements.
pub(super) fn between(before: &CpuSeconds, after: &CpuSeconds) -> CpuSeconds {
    let used = after.iter().map(|(name, seconds)| {
        let already = before.get(name).copied().unwrap_or(0.0);
        (name.clone(), seconds - already)
    });
    used.collect()
}

#[derive(Debug, PartialEq)]
struct Stat {
    process: u32,
    name: String,
    parent: u32,
    seconds: f64,
}

fn read(process: &Path) -> Option<Stat> {
    parse(&fs::read_to_string(process.join("stat")).ok()?)
}

/// `PID (NAME) STATE PPID …`, where the name may hold anything, and user and system time are the
/// 14th and 15th field.
fn parse(stat: &str) -> Option<Stat> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (process, name) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Stat {
        process: process.trim_end().parse().ok()?,
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_parenthesis_is_read() {
        let stat = "17 (a) (b) S 4 17 17 0 -1 4194560 100 0 0 0 250 50 7 7 20 0 1 0 12 0";
        let expected = Stat {
            process: 17,
            name: "a) (b".to_owned(),
            parent: 4,
            seconds: 3.0,
        };
        assert_eq!(parse(stat), Some(expected));
    }

    #[test]
    fn this_process_is_a_child_of_its_parent() {
        let own = std::process::id();
        let stat = read(Path::new(&format!("/proc/{own}"))).unwrap();
        assert!(of_children(stat.parent).unwrap().contains_key(&stat.name));
        assert!(
            children(stat.parent)
                .unwrap()
                .any(|child| child.process == own)
        );
        assert!(of(own).unwrap() >= stat.seconds);
    }
}
