//! Reads of one message as the stream has it, whatever its headers are.
//!
//! The client closes the connection when the server delivers a message with headers that it cannot
//! parse, and takes one with a status line for a message of the server. Whoever may publish can store such
//! a message. The stream's own API answers with JSON, which has headers and payload in base64.

use async_nats::{
    header::NATS_MESSAGE_ID,
    jetstream::{ErrorCode, response::Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use event::{PartitionId, Seq, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    log::EventLog,
    message::{LogMessage, NATS_PREFIX},
    names,
};

/// Which message of a stream is read.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) enum Which<'a> {
    #[serde(rename = "seq")]
    At(Seq),
    #[serde(rename = "last_by_subj")]
    LastOf(&'a str),
}

/// A message with its headers, lossily decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawMessage {
    pub(crate) seq: Seq,
    pub(crate) received_at: Timestamp,
    pub(crate) headers: Vec<(String, String)>,
    /// Whether the client cannot be trusted to parse the headers.
    pub(crate) is_odd: bool,
    pub(crate) payload: Bytes,
}

#[derive(Debug, Deserialize)]
struct Answer {
    message: StoredMessage,
}

/// A message as the stream's API answers it.
#[derive(Debug, Deserialize)]
struct StoredMessage {
    seq: Seq,
    time: String,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

impl EventLog {
    /// Reads one message of `stream` from its leader; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub(crate) async fn raw_message(
        &self,
        stream: &str,
        which: Which<'_>,
    ) -> Result<Option<RawMessage>> {
        let subject = format!("STREAM.MSG.GET.{stream}");
        let answer = self.jetstream().request(subject, &which);
        match self.answer("read a message", answer).await? {
            Response::Ok(Answer { message }) => message.decode().map(Some),
            Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                Ok(None)
            }
            Response::Err { error } => Err(Error::unavailable("read a message", error)),
        }
    }

    /// Reads one message of the log of `partition` from its leader; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn read_alone(&self, partition: PartitionId, seq: Seq) -> Result<Option<LogMessage>> {
        let raw = self.read_raw(partition, seq).await?;
        Ok(raw.map(|raw| raw.of(partition)))
    }

    /// The same with its headers as they are.
    pub(crate) async fn read_raw(
        &self,
        partition: PartitionId,
        seq: Seq,
    ) -> Result<Option<RawMessage>> {
        let stream = names::stream(partition);
        self.raw_message(&stream, Which::At(seq)).await
    }
}

impl StoredMessage {
    fn decode(self) -> Result<RawMessage> {
        let unreadable = |error| Error::unavailable("decode a message", error);
        let decode = |text| BASE64_STANDARD.decode(text);
        let time: Result<Timestamp, _> = self.time.parse();
        let block = decode(self.hdrs).map_err(unreadable)?;
        Ok(RawMessage {
            seq: self.seq,
            received_at: time.map_err(|error| Error::unavailable("decode a message", error))?,
            headers: parse_headers(&block),
            is_odd: is_odd(&block),
            payload: decode(self.data).map_err(unreadable)?.into(),
        })
    }
}

impl RawMessage {
    /// The first value of the header `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(own, _)| own == name);
        header.map(|(_, value)| value.as_str())
    }

    pub(crate) fn of(mut self, partition: PartitionId) -> LogMessage {
        let id = self.header(NATS_MESSAGE_ID.as_ref()).unwrap_or_default();
        let message_id = id.to_owned();
        self.headers
            .retain(|(name, _)| !name.starts_with(NATS_PREFIX));
        LogMessage {
            partition,
            seq: self.seq,
            received_at: self.received_at,
            message_id,
            payload: self.payload,
            headers: self.headers,
        }
    }
}

/// The headers of `block`: as the client parses those that it can parse, and of the others what is text.
fn parse_headers(block: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(block);
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in text.lines().skip(1) {
        match (line.split_once(':'), headers.last_mut()) {
            (_, Some((_, value))) if line.starts_with(char::is_whitespace) => value.push_str(line),
            (Some((name, value)), _) => {
                headers.push((name.to_owned(), value.trim_start().to_owned()))
            }
            (None, _) => {}
        }
    }
    for (_, value) in &mut headers {
        value.truncate(value.trim_end().len());
    }
    headers
}

/// Whether `block` has anything but what our own appenders and ordinary clients write.
fn is_odd(block: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(block) else {
        return true;
    };
    let mut lines = text.lines();
    let has_name = |line: &str| line.find(':').is_some_and(|end| end > 0);
    lines.next().is_some_and(|version| version != "NATS/1.0")
        || lines.any(|line| !line.is_empty() && !has_name(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(block: &str) -> Vec<(String, String)> {
        parse_headers(block.as_bytes())
    }

    #[test]
    fn headers_are_parsed_as_the_client_parses_them() {
        let block = "NATS/1.0\r\nNats-Msg-Id:  a b \r\nFolded: one\r\n  two \r\nEmpty:\r\n\r\n";
        let expected = [
            ("Nats-Msg-Id", "a b"),
            ("Folded", "one  two"),
            ("Empty", ""),
        ];
        assert_eq!(
            parse(block),
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn what_is_no_header_is_left_out_and_what_is_no_text_is_replaced() {
        let parsed = parse_headers(b"  folded\r\nno colon\r\nX: \xff\r\n");
        assert_eq!(parsed, [("X".to_owned(), "\u{fffd}".to_owned())]);
        assert!(parse_headers(b"").is_empty());
    }

    #[test]
    fn headers_are_odd_when_the_client_may_not_parse_them() {
        for block in ["", "NATS/1.0\r\n\r\n", "NATS/1.0\r\nNats-Msg-Id: a\r\n\r\n"] {
            assert!(!is_odd(block.as_bytes()), "{block}");
        }
        for block in [
            &b"NATS/1.0\r\nX: \xff\r\n\r\n"[..],
            b"NATS/1.0\r\nno colon\r\n\r\n",
            b"NATS/1.0\r\n: no name\r\n\r\n",
            b"NATS/1.0 404 No Messages\r\n\r\n",
            b"SPAM/9.9\r\nX: y\r\n\r\n",
        ] {
            assert!(is_odd(block));
        }
    }
}
