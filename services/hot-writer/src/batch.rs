//! Reads messages of the log, and packs them into one batch with packs per conversation. Pure.
//!
//! Events are decoded only to validate them: their encoded bytes are copied.

use ahash::HashMap;
use event::{ConversationId, Seq, TenantId, Timestamp};
use event_log::{FloodGuard, Halt, LogMessage};
use event_proto::{FrameContents, PackedEvent, UnknownVersion};
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

/// A message of the log and what of it can be read.
#[derive(Debug)]
pub(crate) struct ReadMessage {
    pub(crate) seq: Seq,
    received_at: Timestamp,
    pub(crate) headers: Vec<(String, String)>,
    contents: FrameContents,
}

/// Messages that may be written, how many dead letters are new among them, and what stops the rest.
#[derive(Debug, Default)]
pub(crate) struct ReadMessages {
    pub(crate) messages: Vec<ReadMessage>,
    pub(crate) dead_letters: u64,
    pub(crate) halt: Option<Halt>,
}

/// Reads `messages` until the first of a later version, or until `guard` finds too many dead letters.
/// A dead letter keeps the events that can be read.
pub(crate) fn read(messages: Vec<LogMessage>, guard: &mut FloodGuard) -> ReadMessages {
    let mut read = ReadMessages::default();
    for message in messages {
        let seq = message.seq;
        let contents = match FrameContents::read(message.payload) {
            Ok(contents) => contents,
            Err(UnknownVersion(version)) => {
                read.halt = Some(Halt::Version { seq, version });
                break;
            }
        };
        match guard.admit(seq, contents.damage.is_some()) {
            Ok(is_new) => {
                read.dead_letters += u64::from(is_new && contents.damage.is_some());
            }
            Err(flood) => {
                read.halt = Some(Halt::Flood { seq, flood });
                break;
            }
        }
        if let Some(damage) = &contents.damage {
            tracing::error!(seq, %damage, "frame cannot be read, passed over as a dead letter");
        }
        read.messages.push(ReadMessage {
            seq,
            received_at: message.received_at,
            headers: message.headers,
            contents,
        });
    }
    read
}

/// Builds the batch of consecutive `messages`; `None` when there are none.
pub(crate) fn batch_of(messages: &[ReadMessage]) -> Option<Batch> {
    let (first, last) = (messages.first()?, messages.last()?);
    let mut packer = Packer::default();
    for message in messages {
        packer.add(message);
    }
    Some(Batch {
        first: first.seq,
        last: last.seq,
        events: packer.events,
        packs: packer.packs,
    })
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
    /// Adds all events of `message` that can be read.
    fn add(&mut self, message: &ReadMessage) {
        let contents = &message.contents;
        let Some(tenant) = &contents.tenant else {
            return;
        };
        // All events of one frame and conversation go into one pack: it is chosen before any is added.
        let mut packs = vec![None; contents.conversations.len()];
        for readable in &contents.events {
            let index = readable.conversation;
            packs[index]
                .get_or_insert_with(|| self.pack_of(tenant, contents.conversations[index].clone()));
        }
        for readable in &contents.events {
            let pack = packs[readable.conversation].expect("it was chosen above");
            self.bytes[pack] += readable.encoded.bytes.len();
            self.events += 1;
            self.packs[pack].pack.events.push(PackedEvent {
                seq: message.seq,
                idx: readable.idx,
                received_at: message.received_at,
                encoded: readable.encoded.clone(),
            });
        }
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
