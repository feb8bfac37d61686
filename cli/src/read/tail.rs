//! `isotherm tail`: follows a conversation from any position, and reconnects after each lost
//! connection.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::Context as _;
use event::Position;
use futures::StreamExt as _;

use super::stored::StoredEvent;
use crate::{
    client::{self, Client},
    common::Common,
    output::{self, Format},
    sse::{Message, Parser},
    value,
};

const FIRST_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct TailArgs {
    conversation: String,
    /// Begin behind this position instead of at the first event.
    #[arg(long, value_name = "POSITION")]
    after: Option<Position>,
    /// The content alone, byte for byte, as it comes.
    #[arg(long)]
    text: bool,
    /// End after so many events instead of following for ever.
    #[arg(long, value_name = "EVENTS", value_parser = value::whole::<u64>)]
    limit: Option<u64>,
}

/// The state of one `isotherm tail`, across connections.
struct Tail<'a> {
    args: &'a TailArgs,
    format: Format,
    client: Client,
    /// Id of the last event shown; a reconnect continues behind it.
    last_id: Option<String>,
    remaining: u64,
}

pub(super) async fn run(args: &TailArgs, common: &Common) -> anyhow::Result<()> {
    let mut tail = Tail {
        args,
        format: common.output,
        client: Client::query(common)?,
        last_id: args.after.map(|position| position.to_string()),
        remaining: args.limit.unwrap_or(u64::MAX),
    };
    let mut delay = FIRST_DELAY;
    let mut warned = false;
    while tail.remaining > 0 {
        let before = tail.last_id.clone();
        match tail.follow().await? {
            None => {}
            Some(error) if !warned => {
                output::note(&format!("isotherm: {error:#}; will connect again"));
                warned = true;
            }
            Some(_) => {}
        }
        if tail.last_id != before {
            (delay, warned) = (FIRST_DELAY, false);
        }
        if tail.remaining > 0 {
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(MAX_DELAY);
        }
    }
    Ok(())
}

impl Tail<'_> {
    /// Reads one connection to its end. Returns the transient error that ended it, `None` when the server
    /// closed it or the limit was reached; fails when a retry would fail too.
    async fn follow(&mut self) -> anyhow::Result<Option<anyhow::Error>> {
        let url = self
            .client
            .url(&["v1", "conversations", &self.args.conversation, "tail"]);
        let mut request = self.client.get(url, "text/event-stream");
        if let Some(last_id) = &self.last_id {
            request = request.header("last-event-id", last_id);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Ok(Some(self.client.unreachable(&error))),
        };
        let status = response.status();
        if !status.is_success() {
            let error = client::refusal("query", response).await;
            return if client::is_transient(status) {
                Ok(Some(error))
            } else {
                Err(error)
            };
        }
        let mut parser = Parser::default();
        let mut bytes = response.bytes_stream();
        while let Some(piece) = bytes.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return Ok(Some(self.client.unreachable(&error))),
            };
            for message in parser.push(&piece) {
                self.show(&message)?;
                if self.remaining == 0 {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn show(&mut self, message: &Message) -> anyhow::Result<()> {
        let Ok(event) = StoredEvent::parse(&message.data) else {
            // A message of the service about the connection.
            output::note(&format!("isotherm: {} {}", message.event, message.data));
            return Ok(());
        };
        let mut out = io::stdout().lock();
        if self.args.text {
            out.write_all(&event.bytes()?)?;
        } else if self.format == Format::Table {
            let line = event.shortened();
            let (time, event_type) = (&event.timestamp, &event.event_type);
            writeln!(out, "{time}  {event_type:<16} {}", output::printable(&line))?;
        } else {
            writeln!(out, "{}", message.data)?;
        }
        out.flush().context("write the event")?;
        if !message.id.is_empty() {
            self.last_id = Some(message.id.clone());
        }
        self.remaining -= 1;
        Ok(())
    }
}
