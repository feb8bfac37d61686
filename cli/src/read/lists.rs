//! The commands that list: `conversations`, `stats`, `tiers`.

use anyhow::Context as _;

use crate::{
    client::{self, Client, JSON},
    common::Common,
    output::{self, Format, Row},
    value,
};

/// Most rows that the query service answers with at once.
const MAX_PAGE_ROWS: usize = 10_000;

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
        limit: Some(args.limit),
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
        limit: None,
        name: "hours",
        leading_columns: &["hour", "type", "events", "bytes"],
    };
    list.show(common).await
}

/// Prints the contents of each tier.
pub(crate) async fn tiers(common: &Common) -> anyhow::Result<()> {
    let list = ListRequest {
        path: &["v1", "tiers"],
        limit: None,
        name: "tiers",
        leading_columns: &["tier", "events", "bytes", "bytes_per_event", "oldest_at"],
    };
    list.show(common).await
}

/// A request to the query service whose answer has one list.
struct ListRequest {
    path: &'static [&'static str],
    /// Of a list that has pages: the most rows of all of them.
    limit: Option<usize>,
    /// Name of the list in the answer.
    name: &'static str,
    /// The columns with which a table begins.
    leading_columns: &'static [&'static str],
}

impl ListRequest {
    /// Prints the list as a table, lines or CSV; with `-o json` the whole answer.
    async fn show(&self, common: &Common) -> anyhow::Result<()> {
        let client = Client::query(common)?;
        let (mut answer, mut is_complete) = self.page(&client, self.limit, None).await?;
        let mut rows = self.rows(&answer)?;
        while let Some(left) = self.limit.map(|limit| limit.saturating_sub(rows.len()))
            && left > 0
            && let Some(after) = Some(answer.text("next")).filter(|next| !next.is_empty())
        {
            let complete;
            (answer, complete) = self.page(&client, Some(left), Some(&after)).await?;
            is_complete &= complete;
            rows.extend(self.rows(&answer)?);
        }
        if !is_complete {
            client::warn_incomplete();
        }
        if common.output == Format::Json {
            answer.remove(self.name);
            let answer = answer.with(self.name, &rows).begin_with(&[self.name]);
            output::text(&(answer.json() + "\n"))?;
            return Ok(());
        }
        let leading = rows
            .into_iter()
            .map(|row| row.begin_with(self.leading_columns));
        output::rows(common.output, &leading.collect::<Vec<_>>())?;
        Ok(())
    }

    /// The answer behind `after`, and whether nothing is missing in it.
    async fn page(
        &self,
        client: &Client,
        limit: Option<usize>,
        after: Option<&str>,
    ) -> anyhow::Result<(Row, bool)> {
        let mut url = client.url(self.path);
        if let Some(limit) = limit {
            let limit = limit.min(MAX_PAGE_ROWS).to_string();
            url.query_pairs_mut().append_pair("limit", &limit);
        }
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("after", after);
        }
        let response = client.send(client.get(url, JSON)).await?;
        let is_complete = client::is_complete(&response);
        let body = response.bytes().await.context("read the answer")?;
        let answer = serde_json::from_slice(&body).context("read the answer")?;
        Ok((answer, is_complete))
    }

    fn rows(&self, answer: &Row) -> anyhow::Result<Vec<Row>> {
        let list = answer.get(self.name);
        let list = list.with_context(|| format!("the answer has no {}", self.name))?;
        Row::list(list.get().as_bytes()).context("read the answer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_an_answer_is_found_by_its_name() {
        let list = ListRequest {
            path: &[],
            limit: None,
            name: "tiers",
            leading_columns: &["tier", "events"],
        };
        let answer = r#"{"log":[{"x":1}],"tiers":[{"bytes":1,"events":2,"tier":"hot"}]}"#;
        let rows = list.rows(&serde_json::from_str(answer).unwrap()).unwrap();
        let row = rows[0].clone().begin_with(list.leading_columns);
        assert_eq!(row.json(), r#"{"tier":"hot","events":2,"bytes":1}"#);
    }
}
