//! An event as the query service shows it.

use std::borrow::Cow;

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use event::Position;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::output::Row;

/// How much of a content a table shows.
const SHOWN: usize = 100;

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stored<'a> {
    #[serde(borrow)]
    position: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    pub(crate) event_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) timestamp: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) content: Cow<'a, str>,
    #[serde(default, borrow)]
    content_encoding: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    metadata: Option<&'a RawValue>,
}

impl<'a> Stored<'a> {
    pub(crate) fn parse(line: &'a str) -> anyhow::Result<Self> {
        serde_json::from_str(line).context("read an event of the answer")
    }

    pub(crate) fn position(&self) -> anyhow::Result<Position> {
        self.position
            .parse()
            .context("read a position of the answer")
    }

    /// The content as it was before it became an event.
    pub(crate) fn bytes(&self) -> anyhow::Result<Cow<'_, [u8]>> {
        content_bytes(&self.content, self.content_encoding.as_deref())
    }

    pub(crate) fn row(&self) -> Row {
        Row::default()
            .with("position", &self.position)
            .with("timestamp", &self.timestamp)
            .with("type", &self.event_type)
            .with("content", self.shortened())
    }

    /// The content, or the metadata where there is none, no longer than a person wants to see in a
    /// list.
    pub(crate) fn shortened(&self) -> String {
        let metadata = self.metadata.map_or("", RawValue::get);
        let shown = if self.content.is_empty() {
            metadata
        } else {
            &self.content
        };
        let mut chars = shown.chars();
        let mut text: String = chars.by_ref().take(SHOWN).collect();
        if chars.next().is_some() {
            text.push('…');
        }
        text
    }
}

/// The bytes that `content` stands for.
pub(crate) fn content_bytes<'a>(
    content: &'a str,
    encoding: Option<&str>,
) -> anyhow::Result<Cow<'a, [u8]>> {
    match encoding {
        Some("base64") => {
            let bytes = STANDARD.decode(content);
            Ok(Cow::Owned(bytes.context("read the base64 of an event")?))
        }
        _ => Ok(Cow::Borrowed(content.as_bytes())),
    }
}
