//! `isotherm import`: imports the data of other systems, each event once, even when it is interrupted.
//!
//! Event ids are derived from the source alone, and the boundaries between events from its rows alone,
//! so that a second run, or one that resumes, sends the same events again, which are stored once. A
//! checkpoint advances only after ingest has acknowledged the events before it.

mod bad;
mod checkpoint;
mod chunker;
mod database;
pub(crate) mod formats;
mod ids;
mod jsonl;
mod legacy;
mod line_reader;
mod lines;
mod post;
mod progress;
mod source;
mod sqlite;
mod store;
mod verify;

use std::path::PathBuf;

use crate::{common::Common, exit::Usage, value};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Import the legacy database: streams(id, conversation_id, chunk, parsed_data, timestamp).
    #[command(after_help = formats::SQLITE)]
    Sqlite(SqliteArgs),
    /// Import files of events, one JSON object a line, plain or .gz.
    #[command(after_help = formats::JSONL)]
    Jsonl(JsonlArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SqliteArgs {
    /// The database. It is only read.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Leave bad rows out and count them, instead of stopping at the first.
    #[arg(long)]
    skip_bad: bool,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
pub(crate) struct JsonlArgs {
    /// `-` is stdin, which has no checkpoint.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The conversation of lines that name none.
    #[arg(long, value_name = "ID", value_parser = value::conversation)]
    conversation: Option<event::ConversationId>,
    /// The type of lines that name none.
    #[arg(long = "type", value_name = "TYPE", value_parser = value::event_type)]
    event_type: Option<event::EventType>,
    /// Leave bad lines out and count them, instead of stopping at the first.
    #[arg(long)]
    skip_bad: bool,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// The file that keeps the progress [default: FILE.isotherm-import.json].
    #[arg(long, value_name = "PATH")]
    checkpoint: Option<PathBuf>,
    /// Do not read everything back at the end.
    #[arg(long)]
    no_verify: bool,
    /// The time in which stored events must become readable.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = value::duration)]
    verify_within: humantime::Duration,
}

/// Runs an import.
pub(crate) async fn run(command: Command, common: &Common) -> anyhow::Result<()> {
    match command {
        Command::Sqlite(args) => sqlite::import(&args, common).await,
        Command::Jsonl(args) => {
            if args.files.len() > 1 && args.options.checkpoint.is_some() {
                let message = "--checkpoint is for one file; import the files one by one";
                return Err(Usage(message.to_owned()).into());
            }
            for file in &args.files {
                jsonl::import(file, &args, common).await?;
            }
            Ok(())
        }
    }
}
