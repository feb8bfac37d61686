//! An event before it is stored, in the JSON form that ingest accepts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use event::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// An event to send.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NewEvent<'a> {
    /// A UUID, or any other text from which ingest derives one.
    pub(crate) event_id: String,
    pub(crate) conversation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task_id: Option<&'a str>,
    #[serde(rename = "type")]
    pub(crate) event_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timestamp: Option<String>,
    #[serde(flatten)]
    pub(crate) content: Content,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Box<RawValue>>,
}

impl NewEvent<'_> {
    /// Returns the event as one line of JSON, without a line end.
    pub(crate) fn json_line(&self) -> String {
        serde_json::to_string(self).expect("an event always has a JSON form")
    }
}

/// Content of any bytes: UTF-8 without NUL is sent as text, everything else as base64, so that it is
/// read back byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Content {
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<&'static str>,
}

impl Content {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if !bytes.contains(&0) => Self {
                content: text.to_owned(),
                content_encoding: None,
            },
            _ => Self {
                content: STANDARD.encode(bytes),
                content_encoding: Some("base64"),
            },
        }
    }
}

/// Derives an id in the form of a version 7 UUID: the milliseconds of `at` and 74 bits of the hash of
/// `parts`. Equal arguments give equal ids, so that a retry is recognized as a duplicate. Ids of one
/// time are close together, which makes the search for duplicates cheap.
pub(crate) fn derived_id(at: Option<Timestamp>, parts: &[&[u8]]) -> Uuid {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut random = [0; 10];
    hasher.finalize_xof().fill(&mut random);
    let millis = at.map_or(0, |at| at.as_micros().max(0) / 1000);
    uuid::Builder::from_unix_timestamp_millis(millis.unsigned_abs(), &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_and_everything_else_is_base64() {
        let json = |bytes: &[u8]| serde_json::to_string(&Content::new(bytes)).unwrap();
        assert_eq!(json("é\n".as_bytes()), r#"{"content":"é\n"}"#);
        assert_eq!(
            json(b"a\0b"),
            r#"{"content":"YQBi","content_encoding":"base64"}"#
        );
        assert_eq!(
            json(&[0xff]),
            r#"{"content":"/w==","content_encoding":"base64"}"#
        );
    }

    #[test]
    fn an_id_depends_on_every_part_and_its_borders() {
        let at = Some(Timestamp::from_micros(1_763_629_200_021_384));
        let id = derived_id(at, &[b"ab", b"c"]);
        assert_eq!(id, derived_id(at, &[b"ab", b"c"]));
        assert_ne!(id, derived_id(at, &[b"a", b"bc"]));
        assert_eq!(id.get_version_num(), 7);
        assert!(id < derived_id(Some(Timestamp::from_micros(1_763_629_201_000_000)), &[b"a"]));
    }
}
