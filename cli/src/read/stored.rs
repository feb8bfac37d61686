//! An event as the query service returns it.

use std::borrow::Cow;

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use event::Position;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::output::Row;

/// Maximum characters of a content in a table.
const MAX_SHOWN_CHARS: usize = 100;
const BASE64: &str = "base64";

/// One line of an answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StoredEvent<'a> {
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

impl<'a> StoredEvent<'a> {
    pub(crate) fn parse(line: &'a str) -> anyhow::Result<Self> {
        serde_json::from_str(line).context("read an event of the answer")
    }

    pub(crate) fn position(&self) -> anyhow::Result<Position> {
        self.position
            .parse()
            .context("read a position of the answer")
    }

    /// Returns the content as its producer sent it, base64 decoded.
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

    /// Returns the first [`MAX_SHOWN_CHARS`] characters of the content, or of the metadata when the
    /// content is empty. Base64 is marked as such.
    pub(crate) fn shortened(&self) -> String {
        let metadata = self.metadata.map_or("", RawValue::get);
        let is_base64 = self.content_encoding.as_deref() == Some(BASE64);
        let (prefix, shown) = match (self.content.is_empty(), is_base64) {
            (true, _) => ("", metadata),
            (false, true) => ("(base64) ", &*self.content),
            (false, false) => ("", &*self.content),
        };
        let mut chars = shown.chars();
        let mut text = prefix.to_owned();
        text.extend(chars.by_ref().take(MAX_SHOWN_CHARS));
        if chars.next().is_some() {
            text.push('…');
        }
        text
    }
}

/// Decodes `content`, which is base64 when `encoding` says so.
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
        StoredEvent::parse(&line).unwrap().shortened()
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
        let long = "é".repeat(MAX_SHOWN_CHARS + 1);
        let shown = shown(&format!(r#""content":"{long}""#));
        assert_eq!(shown, "é".repeat(MAX_SHOWN_CHARS) + "…");
    }
}
