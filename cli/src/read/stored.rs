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
const BASE64: &str = "base64";

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
    /// list. Bytes that are no text are marked.
    pub(crate) fn shortened(&self) -> String {
        let metadata = self.metadata.map_or("", RawValue::get);
        let is_base64 = self.content_encoding.as_deref() == Some(BASE64);
        let (mark, shown) = match (self.content.is_empty(), is_base64) {
            (true, _) => ("", metadata),
            (false, true) => ("(base64) ", &*self.content),
            (false, false) => ("", &*self.content),
        };
        let mut chars = shown.chars();
        let mut text = mark.to_owned();
        text.extend(chars.by_ref().take(SHOWN));
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
        Some(BASE64) => {
            let bytes = STANDARD.decode(content);
            Ok(Cow::Owned(bytes.context("read the base64 of an event")?))
        }
        _ => Ok(Cow::Borrowed(content.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fields: &str) -> String {
        let line = format!(r#"{{"position":"p","type":"t","timestamp":"now",{fields}}}"#);
        Stored::parse(&line).unwrap().shortened()
    }

    #[test]
    fn bytes_that_are_no_text_are_marked() {
        assert_eq!(
            shown(r#""content":"AP8=","content_encoding":"base64""#),
            "(base64) AP8="
        );
        assert_eq!(shown(r#""content":"AP8=""#), "AP8=");
        assert_eq!(
            shown(r#""content":"AP8=","content_encoding":"utf-8""#),
            "AP8="
        );
        assert_eq!(
            shown(r#""content":"","content_encoding":"base64","metadata":{"a":1}"#),
            r#"{"a":1}"#
        );
    }

    #[test]
    fn what_is_long_is_cut_short() {
        let long = "é".repeat(SHOWN + 1);
        let shown = shown(&format!(r#""content":"{long}""#));
        assert_eq!(shown, "é".repeat(SHOWN) + "…");
    }
}
