//! Where conversations end in the newest messages of one partition. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use event::{ConversationId, Position, Seq, TenantId};
use event_log::LogMessage;
use event_proto::Frame;

use crate::publish;

/// Most messages of a partition that are indexed: a condition on an older position is not checked. No reason
/// but to bound the work.
pub(super) const MAX_MESSAGES: Seq = 10_000;
/// Bytes that a message takes in the index beside its conversations, rounded up.
const MESSAGE_BYTES: usize = 64;
/// Bytes that each conversation of a message takes in the index, rounded up.
const CONVERSATION_BYTES: usize = 192;

/// The hash of a name: names are long, and a producer must not be able to choose two with one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NameHash([u8; 16]);

impl NameHash {
    pub(super) fn of_conversation(tenant: &TenantId, conversation: &ConversationId) -> Self {
        // No id contains a zero byte.
        Self::of(&[tenant.as_str(), conversation.as_str()].join("\0"))
    }

    pub(super) fn of_message(message_id: &str) -> Self {
        Self::of(message_id)
    }

    fn of(name: &str) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..16]);
        Self(half)
    }
}

/// What the index keeps of one message of the log.
#[derive(Debug)]
pub(super) struct IndexedMessage {
    seq: Seq,
    id: NameHash,
    /// The last index of each conversation; `None` if the message cannot be read.
    last: Option<BTreeMap<NameHash, u16>>,
}

impl From<LogMessage> for IndexedMessage {
    fn from(message: LogMessage) -> Self {
        let frame = Frame::decode(message.payload).ok();
        let last = frame.map(|frame| {
            let names = frame.conversations.iter();
            let names = names.map(|name| NameHash::of_conversation(&frame.tenant, name));
            let names: Vec<_> = names.collect();
            let events = (0..).zip(&frame.events);
            events
                .map(|(idx, event)| (names[event.conversation], idx))
                .collect()
        });
        Self {
            seq: message.seq,
            id: NameHash::of_message(publish::original_id(&message.message_id)),
            last,
        }
    }
}

impl IndexedMessage {
    fn bytes(&self) -> usize {
        let conversations = self.last.as_ref().map_or(0, BTreeMap::len);
        MESSAGE_BYTES + conversations * CONVERSATION_BYTES
    }
}

/// A message with events of a conversation, and the index of the last of them.
#[derive(Clone, Copy, Debug)]
struct Part {
    seq: Seq,
    idx: u16,
    id: NameHash,
}

/// Where a conversation ends, seen from an expected position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConversationEnd {
    /// At the expected position.
    Expected,
    /// Elsewhere, and the first message behind the expected position is the one that is to be appended.
    Stored(Seq),
    /// Elsewhere, at this position as far as it is known.
    Elsewhere(Option<Position>),
    /// Elsewhere, at this position; what came first behind the expected position is not known any more.
    FarBehind(Position),
    /// At the expected position, unless this message, which cannot be read, has events of it.
    Unreadable(Seq),
}

impl ConversationEnd {
    /// What is known of it by an index that reaches back to the expected position, or does not; `None` when
    /// nothing is.
    pub(super) fn known(self, reaches: bool) -> Option<Self> {
        match self {
            end if reaches => Some(end),
            Self::Elsewhere(Some(current)) => Some(Self::FarBehind(current)),
            _ => None,
        }
    }
}

/// The index of the messages `first..=last` of a partition.
#[derive(Debug)]
pub(super) struct ConversationEnds {
    first: Seq,
    last: Seq,
    /// Everything up to here was removed to make room.
    removed_through: Seq,
    messages: VecDeque<IndexedMessage>,
    conversations: HashMap<NameHash, VecDeque<Part>>,
    unreadable: BTreeSet<Seq>,
    bytes: usize,
}

impl ConversationEnds {
    /// An index without messages, the next of which is `first`, at least 1.
    pub(super) fn starting_at(first: Seq) -> Self {
        Self {
            first,
            last: first - 1,
            removed_through: 0,
            messages: VecDeque::new(),
            conversations: HashMap::new(),
            unreadable: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub(super) fn first(&self) -> Seq {
        self.first
    }

    /// The last sequence that is indexed.
    pub(super) fn last(&self) -> Seq {
        self.last
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether everything from `seq` on is indexed, or could be: it was not removed to make room.
    pub(super) fn may_reach(&self, seq: Seq) -> bool {
        seq > self.removed_through
    }

    /// Adds the message behind the last; removes the oldest ones beyond [`MAX_MESSAGES`] and `max_bytes`.
    pub(super) fn push_newest(&mut self, message: IndexedMessage, max_bytes: usize) {
        self.last = message.seq;
        self.insert(&message, VecDeque::push_back);
        self.messages.push_back(message);
        while self.last - self.first >= MAX_MESSAGES
            || (self.bytes > max_bytes && self.messages.len() > 1)
        {
            self.remove_oldest();
        }
    }

    /// Adds the message before the first, if there is room and there was for all between them: the index has
    /// no gaps.
    pub(super) fn push_oldest(&mut self, message: IndexedMessage, max_bytes: usize) {
        let is_next = message.seq + 1 == self.first;
        if !is_next || self.bytes + message.bytes() > max_bytes {
            self.removed_through = self.removed_through.max(message.seq);
            return;
        }
        self.first = message.seq;
        self.insert(&message, VecDeque::push_front);
        self.messages.push_front(message);
    }

    /// Forgets that the message `seq` cannot be read: a person has decided about it.
    pub(super) fn pass_over(&mut self, seq: Seq) {
        self.unreadable.remove(&seq);
    }

    /// Where `conversation` ends, for a message `id` that is to be appended behind `expected`. Everything
    /// from there on must be indexed.
    pub(super) fn end(
        &self,
        conversation: NameHash,
        expected: Position,
        id: NameHash,
    ) -> ConversationEnd {
        let nothing = VecDeque::new();
        let parts = self.conversations.get(&conversation).unwrap_or(&nothing);
        let position = |part: &Part| Position::new(expected.partition, part.seq, part.idx);
        let current = parts.back().map(position);
        let behind = parts.partition_point(|part| part.seq <= expected.seq);
        let unreadable = self.unreadable.range(expected.seq..).next();
        match (parts.get(behind), current, unreadable) {
            (Some(next), _, _) if next.id == id => ConversationEnd::Stored(next.seq),
            (Some(_), _, _) => ConversationEnd::Elsewhere(current),
            (None, Some(end), _) if end.seq == expected.seq && end.idx != expected.idx => {
                ConversationEnd::Elsewhere(current)
            }
            (None, _, Some(seq)) => ConversationEnd::Unreadable(*seq),
            (None, Some(end), None) if end == expected => ConversationEnd::Expected,
            (None, _, None) => ConversationEnd::Elsewhere(current),
        }
    }

    fn insert(&mut self, message: &IndexedMessage, push: fn(&mut VecDeque<Part>, Part)) {
        self.bytes += message.bytes();
        let Some(last) = &message.last else {
            self.unreadable.insert(message.seq);
            return;
        };
        for (conversation, idx) in last {
            let part = Part {
                seq: message.seq,
                idx: *idx,
                id: message.id,
            };
            push(self.conversations.entry(*conversation).or_default(), part);
        }
    }

    fn remove_oldest(&mut self) {
        let Some(message) = self.messages.pop_front() else {
            return;
        };
        self.bytes -= message.bytes();
        self.unreadable.remove(&message.seq);
        self.removed_through = message.seq;
        self.first = message.seq + 1;
        for conversation in message.last.unwrap_or_default().keys() {
            if let Some(parts) = self.conversations.get_mut(conversation) {
                parts.pop_front();
                if parts.is_empty() {
                    self.conversations.remove(conversation);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
