//! The commands that list: `conversations`, `stats`, `tiers`.

use anyhow::Context as _;

use crate::{
    client::{self, Client, JSON},
    common::Common,
    output::{self, Format, Row},
    value,
};

#[derive(Debug, clap::Args)]
pub(crate) struct ConversationsArgs {
    /// At most so many, the newest first.
    #[arg(long, default_value = "100", value_parser = value::whole::<usize>)]
    limit: usize,
}

/// Prints the conversations, the newest first.
pub(crate) async fn conversations(args: &ConversationsArgs, common: &Common) -> anyhow::Result<()> {
    let list = ListRequest {
        path: &["v1", "conversations"],
        query: vec![("limit", args.limit.to_string())],
        name: "conversations",
        leading_columns: &[
            "conversation_id",
            "events",
            "bytes",
            "errors",
            "start_timestamp",
        ],
    };
    list.show(common).await
}

/// Prints events and bytes by hour and type.
pub(crate) async fn stats(common: &Common) -> anyhow::Result<()> {
    let list = ListRequest {
        path: &["v1", "stats", "hourly"],
        query: Vec::new(),
        name: "hours",
        leading_columns: &["hour", "type", "events", "bytes"],
    };
    list.show(common).await
}

/// Prints the contents of each tier.
pub(crate) async fn tiers(common: &Common) -> anyhow::Result<()> {
    let list = ListRequest {
        path: &["v1", "tiers"],
        query: Vec::new(),
        name: "tiers",
        leading_columns: &["tier", "events", "bytes", "bytes_per_event", "oldest_at"],
    };
    list.show(common).await
}

/// A request to the query service whose answer has one list.
struct ListRequest {
    path: &'static [&'static str],
    query: Vec<(&'static str, String)>,
    /// Name of the list in the answer.
    name: &'static str,
    /// The columns with which a table begins.
    leading_columns: &'static [&'static str],
}

impl ListRequest {
    /// Prints the list as a table, lines or CSV; with `-o json` the whole answer unchanged.
    async fn show(&self, common: &Common) -> anyhow::Result<()> {
        let client = Client::query(common)?;
        let mut url = client.url(self.path);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        let response = client.send(client.get(url, JSON)).await?;
        client::warn_if_incomplete(&response);
        let mut body = response.bytes().await.context("read the answer")?.to_vec();
        if common.output == Format::Json {
            body.push(b'\n');
            output::bytes(&body)?;
            return Ok(());
        }
        output::rows(common.output, &self.rows(&body)?)?;
        Ok(())
    }

    fn rows(&self, body: &[u8]) -> anyhow::Result<Vec<Row>> {
        let answer: Row = serde_json::from_slice(body).context("read the answer")?;
        let list = answer.get(self.name);
        let list = list.with_context(|| format!("the answer has no {}", self.name))?;
        let rows = Row::list(list.get().as_bytes()).context("read the answer")?;
        Ok(rows
            .into_iter()
            .map(|row| row.begin_with(self.leading_columns))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_begins_with_its_leading_columns() {
        let list = ListRequest {
            path: &[],
            query: Vec::new(),
            name: "tiers",
            leading_columns: &["tier", "events"],
        };
        let body = br#"{"log":[{"x":1}],"tiers":[{"bytes":1,"events":2,"tier":"hot"}]}"#;
        let rows = list.rows(body).unwrap();
        assert_eq!(rows[0].json(), r#"{"tier":"hot","events":2,"bytes":1}"#);
    }
}
