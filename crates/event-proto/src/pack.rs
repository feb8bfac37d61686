//! Packs: consecutive events of one conversation, as one entry of the hot tier.

use bytes::Bytes;
use event::{Seq, Timestamp};
use prost::Message as _;

use crate::{
    block::{self, Block, BlockBuilder, CompressionProfile},
    canonical::EncodedEvent,
    error::{DecodeError, check_version},
    validate, wire,
};

const PACK_VERSION: u32 = 1;
/// The largest pack before compression. No reason but to bound memory: packs that are written are far
/// smaller, so larger lengths mean damage.
const MAX_PACK_BYTES: usize = 64 * 1024 * 1024;

/// One event of a pack: its position in the partition's log, when the log stored it, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedEvent {
    pub seq: Seq,
    pub idx: u16,
    pub received_at: Timestamp,
    pub encoded: EncodedEvent,
}

/// Consecutive events of one conversation, ascending by `(seq, idx)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pack {
    pub events: Vec<PackedEvent>,
}

impl Pack {
    /// Encodes the pack as one entry of the hot tier.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let bytes = self.events.iter().map(|event| event.encoded.bytes.len());
        let mut events = BlockBuilder::with_capacity(self.events.len(), bytes.sum());
        for event in &self.events {
            events.push(event.encoded.as_encoded());
        }
        let block = events.into_block(CompressionProfile::HotTier);
        let message = wire::Pack {
            version: PACK_VERSION,
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

    /// Decodes one entry of the hot tier. Checksums are not verified yet: [`EncodedEvent::decode`]
    /// does that.
    ///
    /// # Errors
    /// Any [`DecodeError`] but `Checksum`. Permanent: the entry is damaged.
    pub fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let message = wire::Pack::decode(payload)?;
        check_version(message.version, PACK_VERSION)?;
        let (seq, idx, received) = (&message.seq, &message.idx, &message.received_at_us);
        let count = message.lengths.len();
        if [seq.len(), idx.len(), received.len()] != [count; 3] {
            return Err(DecodeError::Shape("seq"));
        }
        let block = Block {
            compression: validate::compression(message.compression)?,
            crc32c: message.crc32c.clone(),
            lengths: message.lengths.clone(),
            events: message.events.clone(),
        };
        let encoded = block::decode(&block, MAX_PACK_BYTES)?;
        let positions = seq.iter().zip(idx).zip(received);
        let events = positions
            .zip(encoded)
            .map(|(((seq, idx), received), encoded)| {
                Ok(PackedEvent {
                    seq: *seq,
                    idx: u16::try_from(*idx).map_err(|_| DecodeError::Field("idx"))?,
                    received_at: validate::time("received_at_us", *received)?,
                    encoded,
                })
            });
        Ok(Self {
            events: events.collect::<Result<_, DecodeError>>()?,
        })
    }
}
