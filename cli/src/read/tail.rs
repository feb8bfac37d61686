//! `isotherm tail`: a conversation from any position, then live, through every lost connection.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::Context as _;
use event::Position;
use futures::StreamExt as _;

use super::stored::Stored;
use crate::{
    args::Common,
    client::{self, Client},
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

struct Tail<'a> {
    args: &'a TailArgs,
    format: Format,
    client: Client,
    last: Option<String>,
    left: u64,
}

pub(super) async fn run(args: &TailArgs, common: &Common) -> anyhow::Result<()> {
    let mut tail = Tail {
        args,
        format: common.output,
        client: Client::query(common)?,
        last: args.after.map(|position| position.to_string()),
        left: args.limit.unwrap_or(u64::MAX),
    };
    let mut delay = FIRST_DELAY;
    let mut complained = false;
    while tail.left > 0 {
        let before = tail.last.clone();
        match tail.follow().await? {
            None => {}
            Some(error) if !complained => {
                output::note(&format!("isotherm: {error:#}; will connect again"));
                complained = true;
            }
            Some(_) => {}
        }
        if tail.last != before {
            (delay, complained) = (FIRST_DELAY, false);
        }
        if tail.left > 0 {
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(MAX_DELAY);
        }
    }
    Ok(())
}

impl Tail<'_> {
    /// One connection, to its end; says why it ended when that was not the server's wish. Fails
    /// when another try would fail too.
    async fn follow(&mut self) -> anyhow::Result<Option<anyhow::Error>> {
        let url = self
            .client
            .url(&["v1", "conversations", &self.args.conversation, "tail"]);
        let mut request = self.client.get(url, "text/event-stream");
        if let Some(last) = &self.last {
            request = request.header("last-event-id", last);
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
                if self.left == 0 {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn show(&mut self, message: &Message) -> anyhow::Result<()> {
        let Ok(event) = Stored::parse(&message.data) else {
            // Not an event: the service says something about the connection.
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
            self.last = Some(message.id.clone());
        }
        self.left -= 1;
        Ok(())
    }
}
