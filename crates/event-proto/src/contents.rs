//! What of a message of the log can be read: the one rule for all consumers.

use bytes::Bytes;
use event::{ConversationId, Event, TenantId};

use crate::{canonical::EncodedEvent, error::DecodeError, frame::Frame};

/// The events of a message that can be read, and why the rest cannot.
#[derive(Debug, Default)]
pub struct FrameContents {
    /// `None` if the frame as a whole cannot be read.
    pub tenant: Option<TenantId>,
    pub conversations: Vec<ConversationId>,
    /// Ascending by `idx`.
    pub events: Vec<ReadableEvent>,
    /// `Some` if the message is a dead letter: something in it cannot be read.
    pub damage: Option<Damage>,
}

/// An event that passed every check.
#[derive(Debug)]
pub struct ReadableEvent {
    pub idx: u16,
    /// The index of its conversation in [`FrameContents::conversations`].
    pub conversation: usize,
    pub encoded: EncodedEvent,
    pub event: Event,
}

/// The first part of a message that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    #[error("the frame: {0}")]
    Frame(DecodeError),
    #[error("event {idx} of the frame: {error}")]
    Event { idx: u16, error: DecodeError },
}

/// A later version of the program wrote the message: it is no dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("format version {0} is later than this program knows")]
pub struct UnknownVersion(pub u32);

impl FrameContents {
    /// Reads one message of the log.
    ///
    /// # Errors
    /// [`UnknownVersion`]: stop before the message until a later version of the program runs.
    pub fn read(payload: Bytes) -> Result<Self, UnknownVersion> {
        let frame = match Frame::decode(payload) {
            Ok(frame) => frame,
            Err(DecodeError::Version(version)) => return Err(UnknownVersion(version)),
            Err(error) => {
                return Ok(Self {
                    damage: Some(Damage::Frame(error)),
                    ..Self::default()
                });
            }
        };
        let (mut events, mut damage) = (Vec::with_capacity(frame.events.len()), None);
        for (idx, framed) in (0..).zip(&frame.events) {
            match frame.event(framed) {
                Ok(event) => events.push(ReadableEvent {
                    idx,
                    conversation: framed.conversation,
                    encoded: framed.encoded.clone(),
                    event,
                }),
                Err(error) => {
                    damage.get_or_insert(Damage::Event { idx, error });
                }
            }
        }
        Ok(Self {
            tenant: Some(frame.tenant),
            conversations: frame.conversations,
            events,
            damage,
        })
    }
}
