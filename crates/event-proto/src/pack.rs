//! Packs: consecutive events of one conversation, one entry of the hot tier.

use bytes::Bytes;
use event::{Seq, Timestamp};
use prost::Message as _;

use crate::{
    DecodeError,
    block::{self, Block, Effort, Events},
    canonical::EncodedEvent,
    wire,
};

const VERSION: u32 = 1;

/// One event of a pack: its place in the partition's log, when the log took it, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedEvent {
    pub seq: Seq,
    pub idx: u16,
    pub received_at: Timestamp,
    pub encoded: EncodedEvent,
}

/// Events of one conversation in log order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pack {
    pub events: Vec<PackedEvent>,
}

impl Pack {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let bytes = self.events.iter().map(|event| event.encoded.bytes.len());
        let mut events = Events::with_capacity(self.events.len(), bytes.sum());
        for event in &self.events {
            events.push(event.encoded.as_encoded());
        }
        let block = events.into_block(Effort::Usual);
        let message = wire::Pack {
            version: VERSION,
            seq: self.events.iter().map(|event| event.seq).collect(),
            idx: self.events.iter().map(|event| event.idx.into()).collect(),
            received_at_us: self
                .events
                .iter()
                .map(|e| e.received_at.as_micros())
                .collect(),
            crc32c: block.crc32c,
            lengths: block.lengths,
            compression: block.compression.into(),
            events: block.events,
        };
        message.encode_to_vec().into()
    }

    /// Checksums are not checked here but when an event is decoded.
    pub fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let message = wire::Pack::decode(payload)?;
        if message.version != VERSION {
            return Err(DecodeError::Version(message.version));
        }
        let (seq, idx, received) = (&message.seq, &message.idx, &message.received_at_us);
        let count = message.lengths.len();
        if [seq.len(), idx.len(), received.len()] != [count; 3] {
            return Err(DecodeError::Shape("seq"));
        }
        let encoded = block::decode(&Block {
            compression: message.compression(),
            crc32c: message.crc32c.clone(),
            lengths: message.lengths.clone(),
            events: message.events.clone(),
        })?;
        let places = seq.iter().zip(idx).zip(received);
        let events = places
            .zip(encoded)
            .map(|(((seq, idx), received), encoded)| {
                Ok(PackedEvent {
                    seq: *seq,
                    idx: u16::try_from(*idx).map_err(|_| DecodeError::Field("idx"))?,
                    received_at: Timestamp::from_micros(*received),
                    encoded,
                })
            });
        Ok(Self {
            events: events.collect::<Result<_, DecodeError>>()?,
        })
    }
}
