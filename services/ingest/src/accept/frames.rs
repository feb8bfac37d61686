//! Packs the events of a request into frames: per partition, in order, each event once.

use ahash::{HashMap, RandomState};
use event::{ConversationId, EventId, PartitionCount, PartitionId, TenantId};
use event_proto::{Encoded, FrameBuilder, Identity};

use super::{Frame, ItemPlacement, MAX_ITEMS};

/// The typical size of an event in a body, only used to preallocate.
const TYPICAL_EVENT_BYTES: usize = 512;

/// Packs the events of one request.
pub(super) struct Packer {
    frames: PartitionFrames,
    /// Indexed by conversation number; `None` while all events of a conversation were rejected.
    conversations: Vec<Option<ConversationFrame>>,
    /// The index into `placements` of the first event with an id and a conversation number.
    first_placement: HashMap<(EventId, usize), usize>,
    placements: Vec<ItemPlacement>,
}

/// The partition of a conversation, and the frame that has its last event.
struct ConversationFrame {
    partition: PartitionId,
    /// The frame of its last event, and the conversation's number within that frame.
    last_frame: Option<(usize, u32)>,
}

impl Packer {
    /// A packer for a body of `bytes`.
    pub(super) fn new(tenant: TenantId, partitions: PartitionCount, bytes: usize) -> Self {
        let events = (bytes / TYPICAL_EVENT_BYTES).min(MAX_ITEMS);
        Self {
            frames: PartitionFrames::new(tenant, partitions, bytes),
            conversations: Vec::new(),
            first_placement: HashMap::with_capacity_and_hasher(events, RandomState::new()),
            placements: Vec::with_capacity(events),
        }
    }

    /// Adds item `index`, an event of conversation number `conversation`, whose id is `id`. A repeated event
    /// gets the placement of the first.
    pub(super) fn push(
        &mut self,
        index: usize,
        identity: Identity,
        (conversation, id): (usize, &ConversationId),
        encoded: Encoded<'_>,
    ) {
        let event_id = identity.id;
        let first = *self
            .first_placement
            .entry((event_id, conversation))
            .or_insert(self.placements.len());
        if let Some(first) = self.placements.get(first) {
            let (repeated, first) = (true, *first);
            self.placements.push(ItemPlacement {
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
        let conversation = conversation.get_or_insert_with(|| ConversationFrame {
            partition: self.frames.partition_of(id),
            last_frame: None,
        });
        let (frame, builder) = self
            .frames
            .open(conversation.partition, encoded.bytes.len());
        let number = match conversation.last_frame {
            Some((last, number)) if last == frame => number,
            _ => builder.conversation(id),
        };
        conversation.last_frame = Some((frame, number));
        let idx = builder.push(identity, number, encoded);
        self.placements.push(ItemPlacement {
            index,
            event_id,
            frame,
            idx,
            repeated: false,
        });
    }

    /// All frames, and the placement of each item.
    pub(super) fn finish(self) -> (Vec<Frame>, Vec<ItemPlacement>) {
        (self.frames.finish(), self.placements)
    }
}

/// The frames of all partitions: each partition's last frame is open, the others are closed.
struct PartitionFrames {
    tenant: TenantId,
    partitions: PartitionCount,
    /// The bytes of the body per partition, only used to preallocate.
    share: usize,
    /// Indexed by partition: the number of the open frame, and its builder.
    open: Vec<Option<(usize, FrameBuilder)>>,
    /// Indexed by frame number; `None` while the frame is open.
    closed: Vec<Option<Frame>>,
}

impl PartitionFrames {
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

    /// The number and builder of the frame of `partition` with room for an event of `bytes`; closes the open
    /// frame and opens a new one when it has none.
    fn open(&mut self, partition: PartitionId, bytes: usize) -> (usize, &mut FrameBuilder) {
        let open = &mut self.open[usize::from(partition.partition)];
        if let Some((number, full)) = open.take_if(|(_, frame)| !frame.has_room_for(bytes)) {
            self.closed[number] = Some(Frame {
                partition,
                events: full,
            });
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
            if let Some((number, events)) = open {
                self.closed[number] = Some(Frame { partition, events });
            }
        }
        let frames = self.closed.into_iter();
        let frames = frames.map(|frame| frame.expect("every frame was closed"));
        frames.collect()
    }
}
