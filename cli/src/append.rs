//! `isotherm append`: one event from flags, or many from stdin.

use std::{
    io::{self, BufRead as _, Read as _},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use event::{ConversationId, EventType, Timestamp};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    client::Client,
    common::Common,
    new_event::{Content, NewEvent},
    output::{self, Row},
    sender::{self, BATCH_EVENTS, Receipt, Sender},
    value,
};

/// Time for which a batch is retried before the command fails; no reason but not to hang a script.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The conversation of the event. Without it, events are read from stdin, one JSON object a
    /// line.
    #[arg(long, value_name = "ID", value_parser = value::conversation)]
    conversation: Option<ConversationId>,
    #[arg(long = "type", value_name = "TYPE", default_value = "output.chunk", value_parser = value::event_type)]
    event_type: EventType,
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Any text of at most 128 bytes, chosen by you, so that a second try stores nothing twice.
    #[arg(long, value_name = "TEXT", value_parser = value::event_id)]
    event_id: Option<String>,
    /// When it happened, for example 2026-11-20T09:00:00Z [default: now].
    #[arg(long, value_name = "TIME")]
    timestamp: Option<Timestamp>,
    /// A JSON object.
    #[arg(long, value_name = "JSON", value_parser = value::object)]
    metadata: Option<Box<RawValue>>,
    /// The content; stdin when it is left out.
    #[arg(requires = "conversation")]
    content: Option<String>,
}

/// Stores the event of the arguments, or those on stdin, and prints the receipt.
pub(crate) async fn run(args: Args, common: &Common) -> anyhow::Result<()> {
    let sender = Sender::new(Client::ingest(common)?, Some(RETRY_TIMEOUT)).fail_fast();
    let receipt = match &args.conversation {
        Some(conversation) => sender.send(&[event_line(&args, conversation)?]).await?,
        None => send_stdin(&sender).await?,
    };
    let row = Row::default()
        .with("acked", receipt.acked)
        .with("duplicates", receipt.duplicates);
    output::rows(common.output, &[row])?;
    Ok(())
}

/// Returns the event of the arguments as a line of JSON; its content comes from stdin when it is not
/// among them.
fn event_line(args: &Args, conversation: &ConversationId) -> anyhow::Result<String> {
    let content = match &args.content {
        Some(content) => content.clone().into_bytes(),
        None => {
            let mut bytes = Vec::new();
            io::stdin()
                .lock()
                .read_to_end(&mut bytes)
                .context("read stdin")?;
            bytes
        }
    };
    let event = NewEvent {
        event_id: args.event_id.clone().unwrap_or_else(new_id),
        conversation_id: conversation.as_str(),
        task_id: args.task.as_deref(),
        event_type: args.event_type.as_str(),
        timestamp: happened_at(args).map(|at| at.to_string()),
        content: Content::new(&content),
        metadata: args.metadata.clone(),
    };
    Ok(event.json_line())
}

/// The timestamp to send. With an id chosen by the caller and no time, none is sent and ingest sets
/// it: a second call then sends the same bytes.
fn happened_at(args: &Args) -> Option<Timestamp> {
    let now = || args.event_id.is_none().then(Timestamp::now);
    args.timestamp.or_else(now)
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// Sends the lines of stdin in batches. Lines without an id get one, so that a retry of a batch stores
/// nothing twice.
async fn send_stdin(sender: &Sender) -> anyhow::Result<Receipt> {
    let mut total = Receipt::default();
    let mut lines = Vec::new();
    let mut stdin = io::stdin().lock().lines().enumerate();
    loop {
        let next = stdin.next();
        if let Some((number, line)) = next {
            let line = line.context("read stdin")?;
            if line.trim().is_empty() {
                continue;
            }
            let event = with_id(&line, &new_id());
            lines.push(event.with_context(|| format!("line {} of stdin", number + 1))?);
            if lines.len() < BATCH_EVENTS {
                continue;
            }
        }
        for batch in sender::batches(&lines) {
            let receipt = sender.send(batch).await?;
            total.acked += receipt.acked;
            total.duplicates += receipt.duplicates;
        }
        if std::mem::take(&mut lines).len() < BATCH_EVENTS {
            return Ok(total);
        }
    }
}

/// Returns the event of one line, with the id `fallback_id` when it has none.
pub(crate) fn with_id(line: &str, fallback_id: &str) -> anyhow::Result<String> {
    let line = line.trim_start_matches('\u{feff}');
    let row: Row = serde_json::from_str(line)
        .map_err(|error| anyhow!("it is no JSON object (column {})", error.column()))?;
    if !row.text("event_id").is_empty() {
        return Ok(line.trim().to_owned());
    }
    if row.get("event_id").is_some() {
        bail!("its event_id is empty: leave it out or write an id");
    }
    Ok(row.with("event_id", fallback_id).json())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct TestCli {
        #[command(flatten)]
        args: Args,
    }

    fn sent(args: &[&str]) -> String {
        let fixed = ["append", "--conversation", "c", "hello"];
        let typed = TestCli::parse_from([&fixed[..], args].concat());
        event_line(&typed.args, typed.args.conversation.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn a_second_call_with_the_same_id_sends_the_same_bytes() {
        let own = ["--event-id", "x"];
        assert_eq!(sent(&own), sent(&own));
        assert!(!sent(&own).contains("timestamp"));
        assert!(sent(&[]).contains("timestamp"));
        let time = ["--event-id", "x", "--timestamp", "2026-11-20T09:00:00Z"];
        assert!(sent(&time).contains("2026-11-20T09:00:00"));
    }

    #[test]
    fn an_id_is_added_only_where_there_is_none() {
        assert_eq!(
            with_id(r#" {"event_id":"a","x":1.0} "#, "z").unwrap(),
            r#"{"event_id":"a","x":1.0}"#
        );
        assert_eq!(
            with_id(r#"{"x":1.0}"#, "z").unwrap(),
            r#"{"x":1.0,"event_id":"z"}"#
        );
        let said = with_id("oops", "z").unwrap_err().to_string();
        assert_eq!(said, "it is no JSON object (column 1)");
        with_id("[1]", "z").unwrap_err();
        with_id(r#"{"event_id":""}"#, "z").unwrap_err();
    }
}
