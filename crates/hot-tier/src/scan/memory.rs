//! What a scan holds in memory, for the caller to count.

use std::sync::Arc;

use super::{Conversation, HotScan, Unread};
use crate::{entry::Entry, error::Result, key::Keys};

/// Bytes of a known duplicate in its set.
const DUPLICATE_BYTES: usize = 32;

/// The bytes of a conversation in the list.
pub(super) fn unread_bytes(member: &str) -> usize {
    size_of::<Unread>() + member.len()
}

impl HotScan {
    /// The bytes that the list of conversations may take, which the first step reads at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) is transient: scan again.
    pub async fn list_bytes(&self) -> Result<usize> {
        let key = Keys::of(self.partition).conversations();
        let mut pipe = redis::pipe();
        pipe.cmd("MEMORY").arg("USAGE").arg(&key);
        pipe.zcard(&key);
        let (stored, count): (Option<usize>, usize) = self.reader.query(&pipe).await?;
        Ok(2 * (stored.unwrap_or(0) + count * size_of::<Unread>()))
    }

    /// The bytes that the scan holds between two steps: the list of conversations, and what is not decoded yet.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let entry = |(conversation, entry): &(Arc<Conversation>, Entry)| {
            let duplicates = conversation.duplicates.len() * DUPLICATE_BYTES;
            size_of::<(Arc<Conversation>, Entry)>() + entry.bytes() + duplicates
        };
        self.unread_bytes + self.read.iter().map(entry).sum::<usize>()
    }
}
