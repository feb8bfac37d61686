//! The commands that read: `get`, `tail`, `query`, and the lists.

pub(crate) mod lists;
pub(crate) mod pages;
pub(crate) mod stored;
mod tail;

use std::io::{self, Read as _, Write as _};

use anyhow::Context as _;
use event::Position;

use crate::{
    client::{self, Client, NDJSON},
    common::Common,
    output::{self, Format, Row},
    value,
};
use pages::Pages;
use stored::StoredEvent;
pub(crate) use tail::TailArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    conversation: String,
    /// Only events behind this position.
    #[arg(long, value_name = "POSITION")]
    after: Option<Position>,
    /// Only events before this position.
    #[arg(long, value_name = "POSITION")]
    before: Option<Position>,
    /// Only these types; * and ? are wildcards.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// At most so many events [default: all].
    #[arg(long, value_parser = value::whole::<usize>)]
    limit: Option<usize>,
    /// The newest first.
    #[arg(long)]
    newest: bool,
    /// The joined content, byte for byte, and nothing else.
    #[arg(long)]
    text: bool,
    /// Say on stderr which tiers answered.
    #[arg(long)]
    show_tiers: bool,
}

/// Prints the events of a conversation.
pub(crate) async fn get(args: &GetArgs, common: &Common) -> anyhow::Result<()> {
    let client = Client::query(common)?;
    let mut pages = Pages::new(&client, &args.conversation)
        .newest_first(args.newest)
        .between(args.after, args.before)
        .types(&args.types)
        .limit(args.limit);
    let mut writer = EventWriter::new(common.output, args.text);
    while let Some(page) = pages.next().await? {
        writer.page(&page)?;
    }
    let found_nothing = writer.is_empty && pages.is_complete() && common.output == Format::Table;
    writer.end()?;
    if found_nothing && !is_known(&client, &args.conversation).await? {
        output::note(&format!(
            "no events of conversation {:?}; isotherm conversations lists those that there are",
            args.conversation
        ));
    }
    if args.show_tiers {
        output::note(&format!("Isotherm-Tiers: {}", pages.tiers()));
    }
    Ok(())
}

/// True when the conversation has any event, whatever the filters.
async fn is_known(client: &Client, conversation: &str) -> anyhow::Result<bool> {
    let mut pages = Pages::new(client, conversation).limit(Some(1));
    Ok(pages.next().await?.is_some())
}

/// Follows a conversation.
pub(crate) async fn tail(args: &TailArgs, common: &Common) -> anyhow::Result<()> {
    tail::run(args, common).await
}

/// Writes events page by page, so that a long conversation needs little memory; a table and `-o json`
/// need all rows.
struct EventWriter {
    format: Format,
    text: bool,
    is_empty: bool,
    rows: Vec<Row>,
}

impl EventWriter {
    fn new(format: Format, text: bool) -> Self {
        Self {
            format,
            text,
            is_empty: true,
            rows: Vec::new(),
        }
    }

    fn page(&mut self, lines: &[String]) -> anyhow::Result<()> {
        self.is_empty &= lines.is_empty();
        let mut out = io::stdout().lock();
        for line in lines {
            if self.text {
                out.write_all(&StoredEvent::parse(line)?.bytes()?)?;
            } else if self.format == Format::Ndjson {
                writeln!(out, "{line}")?;
            } else if self.format == Format::Table {
                self.rows.push(StoredEvent::parse(line)?.row());
            } else {
                self.rows.push(serde_json::from_str(line)?);
            }
        }
        Ok(out.flush()?)
    }

    fn end(self) -> io::Result<()> {
        if self.text || self.format == Format::Ndjson {
            return Ok(());
        }
        output::rows(self.format, &self.rows)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct QueryArgs {
    /// One SELECT over events, hourly_stats and conversation_summary; - reads it from stdin.
    sql: String,
    /// Refuse to read more than so many bytes.
    #[arg(long, value_name = "BYTES", value_parser = value::whole::<u64>)]
    max_bytes: Option<u64>,
    /// Give up after this time.
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    timeout: Option<humantime::Duration>,
}

/// Runs a statement and prints its rows.
pub(crate) async fn query(args: &QueryArgs, common: &Common) -> anyhow::Result<()> {
    let mut sql = args.sql.clone();
    if sql == "-" {
        sql.clear();
        io::stdin()
            .lock()
            .read_to_string(&mut sql)
            .context("read stdin")?;
    }
    let client = Client::query(common)?;
    let mut url = client.url(&["v1", "sql"]);
    if let Some(bytes) = args.max_bytes {
        url.query_pairs_mut()
            .append_pair("max_bytes", &bytes.to_string());
    }
    if let Some(timeout) = args.timeout {
        url.query_pairs_mut()
            .append_pair("timeout", &timeout.to_string().replace(' ', ""));
    }
    let accept = if common.output == Format::Csv {
        "text/csv"
    } else {
        NDJSON
    };
    let request = client.post(url, "text/plain; charset=utf-8", sql.into_bytes());
    let response = client.send(request.header("accept", accept)).await?;
    client::warn_if_incomplete(&response);
    let body = response.bytes().await.context("read the answer")?;
    match common.output {
        Format::Csv | Format::Ndjson => output::bytes(&body)?,
        format => {
            let lines = client::lines(&body)?;
            let rows: Result<Vec<Row>, _> = lines.into_iter().map(serde_json::from_str).collect();
            output::rows(format, &rows.context("read the answer")?)?;
        }
    }
    Ok(())
}
