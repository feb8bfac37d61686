//! The sources of events: real programs, each through `isotherm run`, and simulated agents.

use std::process::{Command, Stdio};

use super::view::View;
use crate::{process::Process, run};

/// Longer than the demo takes.
const AGENT_DURATION: &str = "180s";
/// A program that runs for two minutes: its conversation grows during the demo.
const COUNT_SCRIPT: &str = "\
import time
for n in range(600):
    print(f'{n:4} {n * n:7} ' + '#' * (n % 60), flush=True)
    time.sleep(0.2)";

#[derive(Debug)]
pub(super) struct Feed {
    pub(super) name: String,
    /// Set when it runs long enough to be in all tiers.
    pub(super) conversation: Option<String>,
    process: Process,
}

impl Feed {
    /// Stops the program; its output is stored when this returns.
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
        ("python3", &["python3", "-c", COUNT_SCRIPT], true),
    ];
    let mut feeds = Vec::new();
    for (name, command_line, is_long) in programs {
        let conversation = name.replace(' ', "-");
        let mut command = view.isotherm(&["run", "--conversation", &conversation, "--"]);
        command.args(command_line);
        feeds.push(feed(name, is_long.then_some(conversation), command)?);
    }
    let count = agents.to_string();
    let agents = view.isotherm(&["simulate", "--agents", &count, "--for", AGENT_DURATION]);
    feeds.push(feed(
        &format!("{count} agents"),
        Some("agent-0".to_owned()),
        agents,
    )?);
    Ok(feeds)
}

fn feed(name: &str, conversation: Option<String>, mut command: Command) -> anyhow::Result<Feed> {
    command.current_dir(run::root()).stdin(Stdio::null());
    // `isotherm run` passes the output through; the demo does not show it.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Feed {
        name: name.to_owned(),
        conversation,
        process: Process::start(command)?,
    })
}
