//! Frames: events of one partition, of one request or of several small ones, as one message of the log.

use std::collections::HashMap;

use bytes::Bytes;
use event::{ConversationId, Event, PartitionId, TenantId};
use prost::Message as _;

use crate::{
    block::{self, Block, BlockBuilder, CompressionProfile},
    canonical::{Encoded, EncodedEvent, Identity},
    error::{DecodeError, check_version},
    validate, wire,
};

/// The largest number of events in a frame: no reason but to bound the size of a message.
pub const MAX_FRAME_EVENTS: usize = 500;
/// The largest sum of event bytes in a frame before compression: no event is larger. Keeps a frame far below the largest message of the log, 512 KiB.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

const FRAME_VERSION: u32 = 1;

/// One event of a frame: the index of its conversation in [`Frame::conversations`], and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramedEvent {
    pub conversation: usize,
    pub encoded: EncodedEvent,
}

/// A decoded frame, its events in order of `idx`. The events are not verified yet: [`Frame::event`]
/// does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub tenant: TenantId,
    pub conversations: Vec<ConversationId>,
    pub events: Vec<FramedEvent>,
}

impl Frame {
    /// Decodes one message of the log.
    ///
    /// # Errors
    /// Any [`DecodeError`] but `Checksum`. Permanent: treat the message as a dead letter.
    pub fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let message = wire::Frame::decode(payload)?;
        check_version(message.version, FRAME_VERSION)?;
        let block = Block {
            compression: validate::compression(message.compression)?,
            crc32c: message.crc32c,
            lengths: message.lengths,
            events: message.events,
        };
        let events = block::decode(&block, MAX_FRAME_BYTES)?;
        if events.len() != message.conversation_index.len() || events.len() > MAX_FRAME_EVENTS {
            return Err(DecodeError::Shape("conversation_index"));
        }
        let conversations = message.conversations.iter();
        let conversations = conversations
            .map(|text| ConversationId::new(text))
            .collect::<Result<Vec<_>, _>>()?;
        let indexes = message.conversation_index.iter();
        let indexes = indexes.map(|index| *index as usize);
        if indexes.clone().any(|index| index >= conversations.len()) {
            return Err(DecodeError::Shape("conversation_index"));
        }
        let events = indexes
            .zip(events)
            .map(|(conversation, encoded)| FramedEvent {
                conversation,
                encoded,
            })
            .collect();
        Ok(Self {
            tenant: TenantId::new(&message.tenant)?,
            conversations,
            events,
        })
    }

    /// Decodes one of [`Self::events`] after verifying its checksum.
    ///
    /// # Errors
    /// Any error of [`EncodedEvent::decode`], and [`DecodeError::Shape`] if the event is of another
    /// conversation than the frame says. Permanent: treat the message as a dead letter.
    pub fn event(&self, framed: &FramedEvent) -> Result<Event, DecodeError> {
        let event = framed.encoded.decode(&self.tenant)?;
        if self.conversations.get(framed.conversation) != Some(&event.conversation_id) {
            return Err(DecodeError::Shape("conversation_id"));
        }
        Ok(event)
    }
}

/// Returns true if both messages of the log are frames with the same events by their ids, in one order: each is a
/// repeat of the other.
#[must_use]
pub fn have_same_events(one: Bytes, other: Bytes) -> bool {
    let ids = |payload| {
        let frame = Frame::decode(payload)?;
        let events = frame.events.iter();
        let ids = events.map(|framed| {
            let event = frame.event(framed)?;
            Ok((event.conversation_id, event.event_id))
        });
        let ids: Vec<_> = ids.collect::<Result<_, DecodeError>>()?;
        Ok::<_, DecodeError>((frame.tenant, ids))
    };
    matches!((ids(one), ids(other)), (Ok(one), Ok(other)) if one == other)
}

/// Builder of one frame from events of one tenant and one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameBuilder {
    tenant: TenantId,
    /// The bytes that the message id is a hash of, collected first because one call of the hash is
    /// much faster than one per event.
    identity: Vec<u8>,
    /// The bytes of `identity` before those of the first event.
    identity_prefix: usize,
    conversations: Vec<ConversationId>,
    /// The number of each conversation; empty until a frame is appended.
    numbers: HashMap<ConversationId, u32>,
    conversation_index: Vec<u32>,
    events: BlockBuilder,
}

impl FrameBuilder {
    /// Makes an empty frame with memory for `bytes` of events, at most for a full frame.
    #[must_use]
    pub fn new(tenant: TenantId, partition: PartitionId, bytes: usize) -> Self {
        let name = partition.to_string();
        let identity = [tenant.as_str().as_bytes(), name.as_bytes(), &[]].join(&0);
        Self {
            tenant,
            identity_prefix: identity.len(),
            identity,
            conversations: Vec::new(),
            numbers: HashMap::new(),
            conversation_index: Vec::new(),
            events: BlockBuilder::with_capacity(0, bytes.min(MAX_FRAME_BYTES)),
        }
    }

    /// Returns true if an event of `bytes` still fits. An empty frame has room for any event.
    #[must_use]
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.is_empty()
            || (self.len() < MAX_FRAME_EVENTS && self.events.bytes() + bytes <= MAX_FRAME_BYTES)
    }

    /// Adds a conversation to the frame's list and returns its index, an argument of [`Self::push`].
    /// Call it once per conversation: each call writes the name again.
    pub fn conversation(&mut self, id: &ConversationId) -> u32 {
        let number = u32::try_from(self.conversations.len()).expect("at most 500");
        self.conversations.push(id.clone());
        if !self.numbers.is_empty() {
            self.numbers.insert(id.clone(), number);
        }
        number
    }

    /// Adds an event of a conversation of the list; returns the event's `idx` in the frame.
    pub fn push(&mut self, identity: Identity, conversation: u32, event: Encoded<'_>) -> u16 {
        self.identity.extend_from_slice(identity.id.as_bytes());
        self.identity
            .extend_from_slice(&identity.checksum.to_le_bytes());
        self.conversation_index.push(conversation);
        self.events.push(event);
        u16::try_from(self.len() - 1).expect("at most 500")
    }

    /// Returns true if all events of `other` still fit, and are of the same tenant.
    #[must_use]
    pub fn has_room_for_frame(&self, other: &Self) -> bool {
        self.tenant == other.tenant
            && self.len() + other.len() <= MAX_FRAME_EVENTS
            && self.bytes() + other.bytes() <= MAX_FRAME_BYTES
    }

    /// Adds the events of `other`, a frame of the same tenant and partition, behind its own. Each
    /// conversation remains once in the list. Returns the `idx` of the first event added.
    pub fn append(&mut self, other: Self) -> u16 {
        let first = u16::try_from(self.len()).expect("at most 500");
        if self.numbers.is_empty() {
            let ids = self.conversations.iter().cloned();
            self.numbers = ids.zip(0..).collect();
        }
        let mut numbers: Vec<u32> = Vec::with_capacity(other.conversations.len());
        for id in other.conversations {
            let next = u32::try_from(self.conversations.len()).expect("at most 500");
            let number = *self.numbers.entry(id.clone()).or_insert(next);
            if number == next {
                self.conversations.push(id);
            }
            numbers.push(number);
        }
        let indexes = other.conversation_index.iter();
        self.conversation_index
            .extend(indexes.map(|index| numbers[*index as usize]));
        self.identity
            .extend_from_slice(&other.identity[other.identity_prefix..]);
        self.events.append(&other.events);
        first
    }

    /// The bytes of its events, not compressed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.events.bytes()
    }

    /// The number of events in the frame.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Returns true if the frame has no events.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message id for the log's own deduplication: the blake3 hash over the tenant, the partition
    /// and each event's identity, in order, as 64 hex digits. The same events give the same id.
    #[must_use]
    pub fn message_id(&self) -> String {
        blake3::hash(&self.identity).to_hex().to_string()
    }

    /// Encodes the frame as one message of the log.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let block = self.events.into_block(CompressionProfile::Log);
        let message = wire::Frame {
            version: FRAME_VERSION,
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
