//! Packs messages of the log into one batch with packs per conversation. Pure.
//!
//! Events are not decoded: their encoded bytes are copied after their checksum was verified.

use ahash::HashMap;
use event::{ConversationId, Seq, TenantId};
use event_log::LogMessage;
use event_proto::{DecodeError, Frame, PackedEvent};
use hot_tier::ConversationPack;

/// A pack with so many events is closed: the next frame starts a new one. About the limits of one frame
/// (500 events, 256 KiB); no other reason but to bound the size of an entry.
const MAX_PACK_EVENTS: usize = 512;
/// A pack with so many bytes of encoded events is closed.
const MAX_PACK_BYTES: usize = 256 * 1024;

/// The packs that one transaction appends to the hot tier.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The first sequence that the batch covers.
    pub(crate) first: Seq,
    /// The last sequence that the batch covers.
    pub(crate) last: Seq,
    pub(crate) events: u64,
    pub(crate) packs: Vec<ConversationPack>,
}

/// A message of the log that cannot be decoded, or whose checksum does not match.
#[derive(Debug, thiserror::Error)]
#[error("message {seq} of the log is damaged")]
pub(crate) struct DamagedFrame {
    pub(crate) seq: Seq,
    pub(crate) source: DecodeError,
}

/// Builds the batch of consecutive `messages`; `None` when there are none.
pub(crate) fn batch_of(messages: &[LogMessage]) -> Result<Option<Batch>, DamagedFrame> {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
        return Ok(None);
    };
    let mut packer = Packer::default();
    for message in messages {
        let seq = message.seq;
        packer
            .add(message)
            .map_err(|source| DamagedFrame { seq, source })?;
    }
    Ok(Some(Batch {
        first: first.seq,
        last: last.seq,
        events: packer.events,
        packs: packer.packs,
    }))
}

/// Groups events by conversation into packs.
#[derive(Default)]
struct Packer {
    packs: Vec<ConversationPack>,
    /// The bytes of encoded events in each pack.
    bytes: Vec<usize>,
    /// The index of each conversation's open pack.
    open: HashMap<TenantId, HashMap<ConversationId, usize>>,
    events: u64,
}

impl Packer {
    /// Adds all events of `message`.
    fn add(&mut self, message: &LogMessage) -> Result<(), DecodeError> {
        let frame = Frame::decode(message.payload.clone())?;
        // All events of one frame and conversation go into one pack.
        let packs: Vec<usize> = frame
            .conversations
            .into_iter()
            .map(|conversation| self.pack_of(&frame.tenant, conversation))
            .collect();
        for (idx, event) in (0..).zip(frame.events) {
            event.encoded.verify()?;
            let pack = packs[event.conversation];
            self.bytes[pack] += event.encoded.bytes.len();
            self.events += 1;
            self.packs[pack].pack.events.push(PackedEvent {
                seq: message.seq,
                idx,
                received_at: message.received_at,
                encoded: event.encoded,
            });
        }
        Ok(())
    }

    /// The index of the conversation's open pack; opens a new one when there is none or it is full.
    fn pack_of(&mut self, tenant: &TenantId, conversation: ConversationId) -> usize {
        if !self.open.contains_key(tenant) {
            self.open.insert(tenant.clone(), HashMap::default());
        }
        let open = self.open.get_mut(tenant).expect("it was inserted above");
        if let Some(pack) = open.get(&conversation).copied()
            && self.packs[pack].pack.events.len() < MAX_PACK_EVENTS
            && self.bytes[pack] < MAX_PACK_BYTES
        {
            return pack;
        }
        let pack = self.packs.len();
        open.insert(conversation.clone(), pack);
        self.bytes.push(0);
        self.packs.push(ConversationPack {
            tenant: tenant.clone(),
            conversation,
            pack: event_proto::Pack::default(),
        });
        pack
    }
}

#[cfg(test)]
mod tests;
