//! Messages of the log in, one pack per conversation out. Pure.
//!
//! An event is never decoded here: its encoded bytes are copied, after its checksum was checked.

use ahash::HashMap;
use event::{ConversationId, Seq, TenantId};
use event_log::LogMessage;
use event_proto::{DecodeError, Frame, PackedEvent};
use hot_tier::ConversationPack;

/// A pack takes no further frame beyond these.
const PACK_EVENTS: usize = 512;
const PACK_BYTES: usize = 256 * 1024;

/// What one script call writes.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    pub(crate) events: u64,
    pub(crate) packs: Vec<ConversationPack>,
}

/// A message that is not what ingest wrote.
#[derive(Debug, thiserror::Error)]
#[error("message {seq} of the log is damaged")]
pub(crate) struct DamagedFrame {
    pub(crate) seq: Seq,
    pub(crate) source: DecodeError,
}

/// The batch of consecutive `messages`; `None` when there are none.
pub(crate) fn batch_of(messages: &[LogMessage]) -> Result<Option<Batch>, DamagedFrame> {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
        return Ok(None);
    };
    let mut packs = Packs::default();
    for message in messages {
        let seq = message.seq;
        packs
            .take(message)
            .map_err(|source| DamagedFrame { seq, source })?;
    }
    Ok(Some(Batch {
        first: first.seq,
        last: last.seq,
        events: packs.events,
        packs: packs.packs,
    }))
}

#[derive(Default)]
struct Packs {
    packs: Vec<ConversationPack>,
    /// The bytes of each pack.
    bytes: Vec<usize>,
    /// The open pack of each conversation.
    open: HashMap<TenantId, HashMap<ConversationId, usize>>,
    events: u64,
}

impl Packs {
    fn take(&mut self, message: &LogMessage) -> Result<(), DecodeError> {
        let frame = Frame::decode(message.payload.clone())?;
        // All of a frame's events of one conversation go into one pack.
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

    /// The index of the pack that takes the conversation's events of one frame.
    fn pack_of(&mut self, tenant: &TenantId, conversation: ConversationId) -> usize {
        if !self.open.contains_key(tenant) {
            self.open.insert(tenant.clone(), HashMap::default());
        }
        let open = self.open.get_mut(tenant).expect("it was inserted");
        if let Some(pack) = open.get(&conversation).copied()
            && self.packs[pack].pack.events.len() < PACK_EVENTS
            && self.bytes[pack] < PACK_BYTES
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
