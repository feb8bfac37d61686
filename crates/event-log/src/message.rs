//! The messages of the log.

use async_nats::jetstream::{self, message::StreamMessage};
use bytes::Bytes;
use event::{PartitionId, Seq, Timestamp};
use tracing::warn;

/// How the names of NATS's own headers begin.
pub(crate) const NATS_PREFIX: &str = "Nats-";

/// One message of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMessage {
    pub partition: PartitionId,
    pub seq: Seq,
    /// When the log stored it, by the log's clock.
    pub received_at: Timestamp,
    /// The id that its appender gave it; empty for a message without one.
    pub message_id: String,
    pub payload: Bytes,
    pub headers: Vec<(String, String)>,
}

impl LogMessage {
    /// A message that a consumer delivered; `None` if it does not say its sequence.
    pub(crate) fn delivered(partition: PartitionId, message: &jetstream::Message) -> Option<Self> {
        let info = match message.info() {
            Ok(info) => info,
            Err(error) => {
                warn!(
                    error = &*error as &dyn std::error::Error,
                    "message without sequence skipped"
                );
                return None;
            }
        };
        Some(Self {
            partition,
            seq: info.stream_sequence,
            received_at: timestamp(info.published),
            message_id: message.headers.as_ref().map(message_id).unwrap_or_default(),
            payload: message.payload.clone(),
            headers: message.headers.as_ref().map(headers).unwrap_or_default(),
        })
    }

    /// A message that the stream was asked for.
    pub(crate) fn stored(partition: PartitionId, message: StreamMessage) -> Self {
        Self {
            partition,
            seq: message.sequence,
            received_at: timestamp(message.time),
            message_id: message_id(&message.headers),
            headers: headers(&message.headers),
            payload: message.payload,
        }
    }
}

pub(crate) fn timestamp(time: async_nats::datetime::DateTime) -> Timestamp {
    let micros = time.unix_timestamp_nanos() / 1000;
    Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

fn message_id(map: &async_nats::HeaderMap) -> String {
    let id = map.get(async_nats::header::NATS_MESSAGE_ID);
    id.map(ToString::to_string).unwrap_or_default()
}

/// The headers that the appender set, without those of NATS.
fn headers(map: &async_nats::HeaderMap) -> Vec<(String, String)> {
    let own = map
        .iter()
        .filter(|(name, _)| !name.to_string().starts_with(NATS_PREFIX));
    let pairs = own.flat_map(|(name, values)| {
        let pair = move |value: &async_nats::HeaderValue| (name.to_string(), value.to_string());
        values.iter().map(pair)
    });
    pairs.collect()
}
