//! What streams in: real programs, each through `isotherm run`, and the simulated agents.

use std::process::{Command, Stdio};

use super::view::View;
use crate::{process::Process, run};

/// Longer than the demo ever takes.
const TALK: &str = "180s";
/// One that ends by itself but not at once: its conversation grows while we look.
const COUNT: &str = "\
import time
for n in range(600):
    print(f'{n:4} {n * n:7} ' + '#' * (n % 60), flush=True)
    time.sleep(0.2)";

#[derive(Debug)]
pub(super) struct Feed {
    pub(super) name: String,
    /// One that goes on long enough to lie in all tiers.
    pub(super) conversation: Option<String>,
    process: Process,
}

impl Feed {
    /// What it has said is stored when this returns.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        if self.process.has_ended() {
            return Ok(());
        }
        self.process.stop()
    }
}

pub(super) fn start(view: &View, agents: u16) -> anyhow::Result<Vec<Feed>> {
    let programs: [(&str, &[&str], bool); 4] = [
        ("cargo tree", &["cargo", "tree", "--workspace"], false),
        (
            "git log -p",
            &["git", "log", "-p", "-n", "20", "--no-color"],
            false,
        ),
        (
            "find",
            &["sh", "-c", "find / -xdev 2>&1 | head -2000"],
            false,
        ),
        ("python3", &["python3", "-c", COUNT], true),
    ];
    let mut feeds = Vec::new();
    for (name, words, goes_on) in programs {
        let conversation = name.replace(' ', "-");
        let mut command = view.isotherm(&["run", "--conversation", &conversation, "--"]);
        command.args(words);
        feeds.push(feed(name, goes_on.then_some(conversation), command)?);
    }
    let count = agents.to_string();
    let talk = view.isotherm(&["simulate", "--agents", &count, "--for", TALK]);
    feeds.push(feed(
        &format!("{count} agents"),
        Some("agent-0".to_owned()),
        talk,
    )?);
    Ok(feeds)
}

fn feed(name: &str, conversation: Option<String>, mut command: Command) -> anyhow::Result<Feed> {
    command.current_dir(run::root()).stdin(Stdio::null());
    // Its output passes through; the demo shows what is kept instead.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Feed {
        name: name.to_owned(),
        conversation,
        process: Process::start(command)?,
    })
}
