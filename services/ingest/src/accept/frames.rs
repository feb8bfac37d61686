//! The events of a request become frames: per partition, in order, each event once.

use ahash::{HashMap, RandomState};
use event::{ConversationId, EventId, PartitionCount, PartitionId, TenantId};
use event_proto::{Encoded, FrameBuilder, Identity};

use super::{Frame, MAX_ITEMS, Placed};

/// Of an event as it is sent: only to make room ahead.
const USUAL_BYTES: usize = 512;

pub(super) struct Packer {
    frames: Frames,
    /// By the numbers of the conversations; none for one whose events were all refused so far.
    conversations: Vec<Option<Conversation>>,
    seen: HashMap<(EventId, usize), usize>,
    placed: Vec<Placed>,
}

/// Where the events of a conversation go.
struct Conversation {
    partition: PartitionId,
    /// The frame that took its last event, and its number there.
    named: Option<(usize, u32)>,
}

impl Packer {
    /// For a body of `bytes`.
    pub(super) fn new(tenant: TenantId, partitions: PartitionCount, bytes: usize) -> Self {
        let events = (bytes / USUAL_BYTES).min(MAX_ITEMS);
        Self {
            frames: Frames::new(tenant, partitions, bytes),
            conversations: Vec::new(),
            seen: HashMap::with_capacity_and_hasher(events, RandomState::new()),
            placed: Vec::with_capacity(events),
        }
    }

    /// Takes the item `index`, an event of conversation number `conversation`, which is `id`. An event
    /// that the request had already stays where it is.
    pub(super) fn push(
        &mut self,
        index: usize,
        identity: Identity,
        (conversation, id): (usize, &ConversationId),
        encoded: Encoded<'_>,
    ) {
        let event_id = identity.id;
        let first = *self
            .seen
            .entry((event_id, conversation))
            .or_insert(self.placed.len());
        if let Some(first) = self.placed.get(first) {
            let (repeated, first) = (true, *first);
            self.placed.push(Placed {
                index,
                repeated,
                ..first
            });
            return;
        }
        if self.conversations.len() <= conversation {
            self.conversations.resize_with(conversation + 1, || None);
        }
        let conversation = &mut self.conversations[conversation];
        let conversation = conversation.get_or_insert_with(|| Conversation {
            partition: self.frames.partition_of(id),
            named: None,
        });
        let (frame, builder) = self
            .frames
            .open(conversation.partition, encoded.bytes.len());
        let number = match conversation.named {
            Some((named, number)) if named == frame => number,
            _ => builder.conversation(id),
        };
        conversation.named = Some((frame, number));
        let idx = builder.push(identity, number, encoded);
        self.placed.push(Placed {
            index,
            event_id,
            frame,
            idx,
            repeated: false,
        });
    }

    pub(super) fn finish(self) -> (Vec<Frame>, Vec<Placed>) {
        (self.frames.finish(), self.placed)
    }
}

/// The frames: of each partition the last one takes events, the others are closed.
struct Frames {
    tenant: TenantId,
    partitions: PartitionCount,
    /// What each partition gets of the body when all get the same.
    share: usize,
    /// By partition: the number of the frame, and what it has so far.
    open: Vec<Option<(usize, FrameBuilder)>>,
    closed: Vec<Option<Frame>>,
}

impl Frames {
    fn new(tenant: TenantId, partitions: PartitionCount, bytes: usize) -> Self {
        let count = usize::from(partitions.get());
        Self {
            tenant,
            partitions,
            share: bytes / count,
            open: (0..count).map(|_| None).collect(),
            closed: Vec::new(),
        }
    }

    fn partition_of(&self, id: &ConversationId) -> PartitionId {
        self.partitions.partition_of(&self.tenant, id)
    }

    /// The frame of `partition` that has room for an event of `bytes`, and its number.
    fn open(&mut self, partition: PartitionId, bytes: usize) -> (usize, &mut FrameBuilder) {
        let open = &mut self.open[usize::from(partition.partition)];
        if let Some((number, full)) = open.take_if(|(_, frame)| !frame.has_room_for(bytes)) {
            self.closed[number] = Some(close(partition, full));
        }
        let (number, frame) = open.get_or_insert_with(|| {
            self.closed.push(None);
            let frame = FrameBuilder::new(self.tenant.clone(), partition, self.share);
            (self.closed.len() - 1, frame)
        });
        (*number, frame)
    }

    fn finish(mut self) -> Vec<Frame> {
        for (partition, open) in self.partitions.all().zip(self.open) {
            if let Some((number, last)) = open {
                self.closed[number] = Some(close(partition, last));
            }
        }
        let frames = self.closed.into_iter();
        let frames = frames.map(|frame| frame.expect("every frame was closed"));
        frames.collect()
    }
}

fn close(partition: PartitionId, builder: FrameBuilder) -> Frame {
    Frame {
        partition,
        message_id: builder.message_id(),
        events: builder.len(),
        payload: builder.encode(),
    }
}
