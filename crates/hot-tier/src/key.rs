//! Names of keys, sorted-set members and entry ids. All keys of a partition share one hash tag, so
//! that one script may access them together in a cluster.

use event::{ConversationId, PartitionId, Seq, TenantId};

/// The names of one partition's keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys(PartitionId);

impl Keys {
    pub(crate) fn of(partition: PartitionId) -> Self {
        Self(partition)
    }

    fn name(self, rest: &str) -> String {
        let PartitionId {
            generation,
            partition,
            ..
        } = self.0;
        format!("{{g{generation}p{partition:02}}}:{rest}")
    }

    pub(crate) fn epoch(self) -> u16 {
        self.0.epoch
    }

    /// Hash: the fields of [`HotCursor`](crate::HotCursor).
    pub(crate) fn cursor(self) -> String {
        self.name("cursor")
    }

    /// String: changes whenever the cursor's `last` does, and only then. Appending transactions WATCH
    /// it.
    pub(crate) fn guard(self) -> String {
        self.name("guard")
    }

    /// Sorted set: conversation → last sequence.
    pub(crate) fn conversations(self) -> String {
        self.name("convs")
    }

    /// Sorted set: conversation → `received_at` of its oldest event in the tier, in microseconds.
    pub(crate) fn heads(self) -> String {
        self.name("heads")
    }

    /// Sorted set: conversation → number of its events in the tier.
    pub(crate) fn sizes(self) -> String {
        self.name("sizes")
    }

    /// Sorted set: conversation → its floor, where it is above the partition's.
    pub(crate) fn floors(self) -> String {
        self.name("floors")
    }

    /// Stream: the packs of a conversation.
    pub(crate) fn packs(self, member: &str) -> String {
        self.name(&format!("c:{member}"))
    }

    /// Set: `seq-idx` of the conversation's duplicates.
    pub(crate) fn duplicates(self, member: &str) -> String {
        self.name(&format!("d:{member}"))
    }

    /// The prefix of all [`Self::packs`] keys.
    pub(crate) fn packs_prefix(self) -> String {
        self.name("c:")
    }

    /// The prefix of all [`Self::duplicates`] keys.
    pub(crate) fn duplicates_prefix(self) -> String {
        self.name("d:")
    }
}

/// The member and key suffix of a conversation: `<tenant>:<conversation>`. A tenant has no colon.
pub(crate) fn member(tenant: &TenantId, conversation: &ConversationId) -> String {
    format!("{tenant}:{conversation}")
}

/// Parses what [`member`] made; `None` when it is something else.
pub(crate) fn parse_member(member: &str) -> Option<(TenantId, ConversationId)> {
    let (tenant, conversation) = member.split_once(':')?;
    let tenant = TenantId::new(tenant).ok()?;
    Some((tenant, ConversationId::new(conversation).ok()?))
}

/// `<seq>-<idx>`: the id of an entry, and the text of a duplicate's position.
pub(crate) fn id((seq, idx): (Seq, u16)) -> String {
    format!("{seq}-{idx}")
}

/// Parses what [`id`] made; `None` when it is something else.
pub(crate) fn parse_id(id: &str) -> Option<(Seq, u16)> {
    let (seq, idx) = id.split_once('-')?;
    Some((seq.parse().ok()?, idx.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use event::{ConversationId, PartitionId, TenantId};

    use super::{Keys, id, member, parse_id, parse_member};

    #[test]
    fn key_names_are_as_documented() {
        let keys = Keys::of(PartitionId::first(7));
        assert_eq!(keys.cursor(), "{g1p07}:cursor");
        assert_eq!(keys.packs("acme:a/b"), "{g1p07}:c:acme:a/b");
        assert_eq!(keys.duplicates("acme:a/b"), "{g1p07}:d:acme:a/b");
    }

    #[test]
    fn members_and_ids_are_parsed_back() {
        let tenant = TenantId::new("acme").unwrap();
        let conversation = ConversationId::new("run:7@x").unwrap();
        let text = member(&tenant, &conversation);
        assert_eq!(parse_member(&text), Some((tenant, conversation)));
        assert_eq!(parse_id(&id((42, 3))), Some((42, 3)));
        assert_eq!(parse_id("42"), None);
        assert_eq!(parse_member("no colon"), None);
    }
}
