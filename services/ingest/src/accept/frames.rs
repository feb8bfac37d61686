//! The events of a request become frames: per partition, in order, each event once.

use ahash::HashMap;
use event::{ConversationId, EventId, PartitionCount, PartitionId, TenantId};
use event_proto::{Encoded, FrameBuilder, Identity};

use super::{Frame, Placed};

pub(super) struct Packer {
    tenant: TenantId,
    partitions: PartitionCount,
    /// What each partition gets of the body when all get the same.
    share: usize,
    conversations: HashMap<ConversationId, (usize, PartitionId)>,
    seen: HashMap<(EventId, usize), usize>,
    open: HashMap<PartitionId, (usize, FrameBuilder)>,
    frames: Vec<Option<Frame>>,
    placed: Vec<Placed>,
}

impl Packer {
    /// For a body of `bytes`.
    pub(super) fn new(tenant: TenantId, partitions: PartitionCount, bytes: usize) -> Self {
        Self {
            tenant,
            partitions,
            share: bytes / usize::from(partitions.get()),
            conversations: HashMap::default(),
            seen: HashMap::default(),
            open: HashMap::default(),
            frames: Vec::new(),
            placed: Vec::new(),
        }
    }

    /// Takes the item `index`; an event that the request had already stays where it is.
    pub(super) fn push(
        &mut self,
        index: usize,
        identity: Identity,
        conversation_id: &ConversationId,
        encoded: Encoded<'_>,
    ) {
        let (conversation, partition) = self.conversation(conversation_id);
        let event_id = identity.id;
        let once = (event_id, conversation);
        if let Some(first) = self.seen.get(&once) {
            self.placed.push(Placed {
                index,
                repeated: true,
                ..self.placed[*first]
            });
            return;
        }
        self.seen.insert(once, self.placed.len());
        let (frame, builder) = self.builder(partition, encoded.bytes.len());
        let frame = *frame;
        let idx = builder.push(identity, conversation_id, encoded);
        self.placed.push(Placed {
            index,
            event_id,
            frame,
            idx,
            repeated: false,
        });
    }

    fn conversation(&mut self, id: &ConversationId) -> (usize, PartitionId) {
        if let Some(known) = self.conversations.get(id) {
            return *known;
        }
        let partition = self.partitions.partition_of(&self.tenant, id);
        let new = (self.conversations.len(), partition);
        self.conversations.insert(id.clone(), new);
        new
    }

    fn builder(&mut self, partition: PartitionId, bytes: usize) -> &mut (usize, FrameBuilder) {
        let full = |(_, builder): &(usize, FrameBuilder)| !builder.has_room_for(bytes);
        if self.open.get(&partition).is_some_and(full)
            && let Some((number, builder)) = self.open.remove(&partition)
        {
            self.frames[number] = Some(close(partition, builder));
        }
        self.open.entry(partition).or_insert_with(|| {
            self.frames.push(None);
            let builder = FrameBuilder::with_room(self.tenant.clone(), partition, self.share);
            (self.frames.len() - 1, builder)
        })
    }

    pub(super) fn finish(mut self) -> (Vec<Frame>, Vec<Placed>) {
        for (partition, (number, builder)) in self.open {
            self.frames[number] = Some(close(partition, builder));
        }
        let frames = self.frames.into_iter();
        let frames = frames.map(|frame| frame.expect("every frame was closed"));
        (frames.collect(), self.placed)
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
