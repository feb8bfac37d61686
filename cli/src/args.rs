//! The command line: all commands, their flags and help texts. The help texts are the documentation.

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{
    append, archive, bench, common::Common, dev, dlq, gap, import, policy, read, run, simulate,
};

const EXAMPLES: &str = "\
Examples:
  isotherm dev                                    start everything on this machine
  isotherm run --conversation build -- make -j4   run a program and keep what it says
  isotherm tail build                             follow it from the first byte
  isotherm get build --text                       read it again
  isotherm query \"SELECT type, count(*) FROM events GROUP BY type\"
  isotherm policy apply policies.yaml             decide how long events stay";

/// Keeps what AI agents say: the newest hour in Redis, the last week in DuckDB, everything older as
/// Parquet in your own bucket, and one answer from all of them.
#[derive(Debug, Parser)]
#[command(name = "isotherm", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start all of Isotherm on this machine, until Ctrl-C.
    #[command(after_help = "Examples:
  isotherm dev                                     data in .isotherm, ports from 7400
  isotherm dev --data /srv/runs --port-base 9400
  isotherm dev --accelerate 3600x                  watch a week pass in minutes
  isotherm dev --cold s3://bucket/prefix           the cold tier in a bucket (keys by AWS_*)")]
    Dev(dev::Args),
    /// Store one event, or many from stdin.
    #[command(after_help = "Examples:
  isotherm append --conversation demo 'hello'
  isotherm append --conversation demo --type tool.call --metadata '{\"tool\":\"ls\"}' 'ls -l'
  isotherm append < events.ndjson")]
    Append(append::Args),
    /// Run a program, pass its output through, and keep it as events.
    #[command(after_help = "Examples:
  isotherm run --conversation build -- cargo build
  isotherm run --conversation nightly --task 17 -- ./agent.py --fast

The exit status is that of the program, 128 + n when signal n ended it. When ingest is away, the
program goes on and its output waits.")]
    Run(run::Args),
    /// Follow a conversation: everything so far, then what comes.
    #[command(after_help = "Examples:
  isotherm tail build
  isotherm tail build --text                       as if the program ran here
  isotherm tail build --after 0001-0002-0001-00000000000000000042-0003")]
    Tail(read::TailArgs),
    /// Read a conversation across all tiers.
    #[command(after_help = "Examples:
  isotherm get build
  isotherm get build --newest --limit 20
  isotherm get build --type 'error*' -o ndjson
  isotherm get build --text > build.log")]
    Get(read::GetArgs),
    /// Ask by SQL over all tiers: one SELECT.
    #[command(after_help = "Examples:
  isotherm query \"SELECT type, count(*) AS n FROM events GROUP BY type ORDER BY n DESC\"
  isotherm query \"SELECT * FROM hourly_stats ORDER BY hour\" -o csv")]
    Query(read::QueryArgs),
    /// List conversations, the newest first.
    #[command(after_help = "Examples:
  isotherm conversations --limit 20
  isotherm conversations -o json | jq '.conversations[].conversation_id'
  isotherm conversations -o ndjson | jq .conversation_id

-o json prints one object, the whole answer; its list is in \"conversations\".")]
    Conversations(read::lists::ConversationsArgs),
    /// Show what lies in which tier.
    #[command(
        after_help = "-o json prints one object, the whole answer; its list is in \"tiers\"."
    )]
    Tiers,
    /// Show events and bytes by hour and type.
    #[command(
        after_help = "-o json prints one object, the whole answer; its list is in \"hours\"."
    )]
    Stats,
    /// Copy what is sealed to the cold tier now.
    Archive(archive::Args),
    /// Bring in what other systems kept.
    #[command(subcommand, after_help = import::formats::BOTH)]
    Import(import::Command),
    /// Be a number of agents: what they would say, at their pace.
    #[command(hide = true)]
    Simulate(simulate::Args),
    /// Print the completions of a shell.
    #[command(after_help = "Example:
  isotherm completions bash > /etc/bash_completion.d/isotherm")]
    Completions { shell: clap_complete::Shell },
    /// Read, check and set retention policies, without a cluster.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Look at what could not be read from the event log, and replay or drop it.
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// Look at ranges that every tier has lost, and accept the loss so that the archive goes on.
    #[command(subcommand)]
    Gap(gap::Command),
    /// Post a file of events and measure when they arrive.
    #[command(name = "bench-load", hide = true)]
    BenchLoad(bench::Args),
    /// Become another program that dies with its parent.
    #[command(name = "__exec", hide = true)]
    Exec(dev::exec::Args),
}

/// Prints the completion script of `shell`.
pub(crate) fn completions(shell: clap_complete::Shell) -> std::io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "isotherm", &mut script);
    crate::output::bytes(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_a_list_says_that_its_json_is_an_object() {
        for (name, list) in [
            ("conversations", "conversations"),
            ("tiers", "tiers"),
            ("stats", "hours"),
        ] {
            let mut command = Cli::command();
            command.build();
            let found = command.find_subcommand_mut(name).unwrap();
            let help = found.render_long_help().to_string();
            let sentence =
                format!("-o json prints one object, the whole answer; its list is in \"{list}\".");
            assert!(help.contains(&sentence), "{help}");
        }
    }
}
