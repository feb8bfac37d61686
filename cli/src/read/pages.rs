//! Reads a conversation page by page; each page begins behind the last position of the one before.

use event::Position;

use super::stored::StoredEvent;
use crate::client::{self, Client, NDJSON};

/// Maximum number of events in one request.
const PAGE_EVENTS: usize = 5000;

/// Iterator over the pages of a conversation.
#[derive(Debug)]
pub(crate) struct Pages<'a> {
    client: &'a Client,
    conversation: &'a str,
    newest_first: bool,
    after: Option<Position>,
    before: Option<Position>,
    types: &'a [String],
    remaining: usize,
    ended: bool,
    tiers: Vec<String>,
    is_complete: bool,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(client: &'a Client, conversation: &'a str) -> Self {
        Self {
            client,
            conversation,
            newest_first: false,
            after: None,
            before: None,
            types: &[],
            remaining: usize::MAX,
            ended: false,
            tiers: Vec::new(),
            is_complete: true,
        }
    }

    pub(crate) fn newest_first(self, newest_first: bool) -> Self {
        Self {
            newest_first,
            ..self
        }
    }

    pub(crate) fn between(self, after: Option<Position>, before: Option<Position>) -> Self {
        Self {
            after,
            before,
            ..self
        }
    }

    pub(crate) fn types(self, types: &'a [String]) -> Self {
        Self { types, ..self }
    }

    pub(crate) fn limit(self, limit: Option<usize>) -> Self {
        let remaining = limit.unwrap_or(usize::MAX);
        Self { remaining, ..self }
    }

    /// True when no page so far was incomplete.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Fetches the next page: its events as JSON lines, `None` at the end.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Vec<String>>> {
        let limit = PAGE_EVENTS.min(self.remaining);
        if self.ended || limit == 0 {
            return Ok(None);
        }
        let response = self
            .client
            .send(self.client.get(self.url(limit), NDJSON))
            .await?;
        if self.is_complete && !client::is_complete(&response) {
            self.is_complete = false;
            client::warn_incomplete();
        }
        self.add_tiers(&response);
        let body = response.bytes().await?;
        let lines: Vec<String> = client::lines(&body)?
            .into_iter()
            .map(str::to_owned)
            .collect();
        let Some(last) = lines.last() else {
            self.ended = true;
            return Ok(None);
        };
        let position = StoredEvent::parse(last)?.position()?;
        if self.newest_first {
            self.before = Some(position);
        } else {
            self.after = Some(position);
        }
        self.remaining -= lines.len().min(self.remaining);
        Ok(Some(lines))
    }

    /// Returns the tiers that answered so far, as the service named them.
    pub(crate) fn tiers(&self) -> String {
        self.tiers.join(", ")
    }

    fn add_tiers(&mut self, response: &reqwest::Response) {
        let named = response.headers().get("isotherm-tiers");
        let named = named
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        for tier in named
            .split(',')
            .map(str::trim)
            .filter(|tier| !tier.is_empty())
        {
            if !self.tiers.iter().any(|known| known == tier) {
                self.tiers.push(tier.to_owned());
            }
        }
    }

    fn url(&self, limit: usize) -> url::Url {
        let mut url = self
            .client
            .url(&["v1", "conversations", self.conversation, "events"]);
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("limit", &limit.to_string());
            query.append_pair("order", if self.newest_first { "desc" } else { "asc" });
            if let Some(after) = self.after {
                query.append_pair("after", &after.to_string());
            }
            if let Some(before) = self.before {
                query.append_pair("before", &before.to_string());
            }
            for event_type in self.types {
                query.append_pair("type", event_type);
            }
        }
        url
    }
}
