//! Frames: the events of one request and one partition, one message of the log.

use bytes::Bytes;
use event::{ConversationId, EventId, PartitionId, TenantId};
use prost::Message as _;

use crate::{
    DecodeError,
    block::{self, Block, Effort, Events},
    canonical::{Encoded, EncodedEvent},
    wire,
};

/// Most events in a frame.
pub const MAX_FRAME_EVENTS: usize = 500;
/// Most bytes of events in a frame before compression, unless it holds a single event.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

const VERSION: u32 = 1;

/// One event of a frame: which of the frame's conversations it belongs to, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramedEvent {
    pub conversation: usize,
    pub encoded: EncodedEvent,
}

/// A decoded frame. The events' checksums are not checked yet; [`EncodedEvent::decode`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub tenant: TenantId,
    pub conversations: Vec<ConversationId>,
    pub events: Vec<FramedEvent>,
}

impl Frame {
    /// Reads one message of the log.
    pub fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let message = wire::Frame::decode(payload)?;
        if message.version != VERSION {
            return Err(DecodeError::Version(message.version));
        }
        let events = block::decode(&Block {
            compression: message.compression(),
            crc32c: message.crc32c,
            lengths: message.lengths,
            events: message.events,
        })?;
        if events.len() != message.conversation_index.len() || events.len() > MAX_FRAME_EVENTS {
            return Err(DecodeError::Shape("conversation_index"));
        }
        let conversations = message
            .conversations
            .iter()
            .map(|text| ConversationId::new(text).map_err(|_| DecodeError::Field("conversations")))
            .collect::<Result<Vec<_>, _>>()?;
        let of_event = message
            .conversation_index
            .iter()
            .map(|index| *index as usize);
        if of_event.clone().any(|index| index >= conversations.len()) {
            return Err(DecodeError::Shape("conversation_index"));
        }
        let events = of_event
            .zip(events)
            .map(|(conversation, encoded)| FramedEvent {
                conversation,
                encoded,
            })
            .collect();
        Ok(Self {
            tenant: TenantId::new(&message.tenant).map_err(|_| DecodeError::Field("tenant"))?,
            conversations,
            events,
        })
    }
}

/// What says that two tries sent the same event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub id: EventId,
    /// The crc32c of the event as its producer sent it.
    pub checksum: u32,
}

/// Collects the events of one request and one partition into frames.
#[derive(Debug)]
pub struct FrameBuilder {
    tenant: TenantId,
    /// What the message id is a hash of: hashed as one, which is much faster than piece by piece.
    identity: Vec<u8>,
    conversations: Vec<ConversationId>,
    conversation_index: Vec<u32>,
    events: Events,
}

impl FrameBuilder {
    /// With memory for events of `bytes` together, or for a full frame if that is less.
    #[must_use]
    pub fn new(tenant: TenantId, partition: PartitionId, bytes: usize) -> Self {
        let name = partition.to_string();
        let identity = [tenant.as_str().as_bytes(), name.as_bytes(), &[]].join(&0);
        Self {
            tenant,
            identity,
            conversations: Vec::new(),
            conversation_index: Vec::new(),
            events: Events::with_capacity(0, bytes.min(MAX_FRAME_BYTES)),
        }
    }

    /// Whether an event of `bytes` still goes into this frame. An empty frame takes any event.
    #[must_use]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.is_empty()
            || (self.len() < MAX_FRAME_EVENTS && self.events.bytes() + bytes <= MAX_FRAME_BYTES)
    }

    /// Names a conversation that the frame has events of; returns the number that [`Self::push`]
    /// wants for it. Once each: every name costs its bytes.
    pub fn conversation(&mut self, id: &ConversationId) -> u32 {
        self.conversations.push(id.clone());
        u32::try_from(self.conversations.len() - 1).expect("at most 500")
    }

    /// Adds an event of a conversation that was named; returns its index in the frame.
    pub fn push(&mut self, identity: Identity, conversation: u32, event: Encoded<'_>) -> u16 {
        self.identity.extend_from_slice(identity.id.as_bytes());
        self.identity
            .extend_from_slice(&identity.checksum.to_le_bytes());
        self.conversation_index.push(conversation);
        self.events.push(event);
        u16::try_from(self.len() - 1).expect("at most 500")
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The identity of the frame, for the log's own deduplication: blake3 over the tenant, the
    /// partition and each event's identity, in order. The same request gives the same.
    #[must_use]
    pub fn message_id(&self) -> String {
        blake3::hash(&self.identity).to_hex().to_string()
    }

    /// The message for the log.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let block = self.events.into_block(Effort::Low);
        let message = wire::Frame {
            version: VERSION,
            tenant: self.tenant.as_str().to_owned(),
            conversations: self.conversations.iter().map(ToString::to_string).collect(),
            conversation_index: self.conversation_index,
            crc32c: block.crc32c,
            lengths: block.lengths,
            compression: block.compression.into(),
            events: block.events,
        };
        message.encode_to_vec().into()
    }
}

#[cfg(test)]
mod tests;
