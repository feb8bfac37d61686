//! Cuts output into chunks, one for each event: by time and by size, never inside a character. Pure.

use std::time::Duration;

use event::Timestamp;

/// Time for which output is collected before it becomes an event.
pub(super) const CHUNK_WINDOW: Duration = Duration::from_millis(50);
/// Maximum bytes of one event.
pub(super) const MAX_CHUNK_BYTES: usize = 16 * 1024;

/// Bytes that become one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// Time at which the first of them was read.
    pub(super) at: Timestamp,
}

/// Buffer of the output of one channel that is no event yet.
#[derive(Debug, Default)]
pub(super) struct Chunker {
    bytes: Vec<u8>,
    since: Option<Timestamp>,
}

impl Chunker {
    /// Appends what was read at `now`; returns the chunks that are full.
    pub(super) fn push(&mut self, bytes: &[u8], now: Timestamp) -> Vec<Chunk> {
        if bytes.is_empty() {
            return Vec::new();
        }
        self.since.get_or_insert(now);
        self.bytes.extend_from_slice(bytes);
        let mut chunks = Vec::new();
        while self.bytes.len() >= MAX_CHUNK_BYTES {
            let cut = boundary(&self.bytes[..MAX_CHUNK_BYTES]);
            chunks.push(self.cut(cut, now));
        }
        chunks
    }

    /// Returns when the buffered output must become an event.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let whole = boundary(&self.bytes) > 0;
        self.since
            .filter(|_| whole)
            .map(|since| since.plus(CHUNK_WINDOW))
    }

    /// Returns the chunk that is due at `now`, without an incomplete character at its end.
    pub(super) fn tick(&mut self, now: Timestamp) -> Option<Chunk> {
        self.due().filter(|due| *due <= now)?;
        Some(self.cut(boundary(&self.bytes), now))
    }

    /// Returns everything that is left, at the end of the channel.
    pub(super) fn finish(&mut self, now: Timestamp) -> Option<Chunk> {
        (!self.bytes.is_empty()).then(|| self.cut(self.bytes.len(), now))
    }

    fn cut(&mut self, at: usize, now: Timestamp) -> Chunk {
        let rest = self.bytes.split_off(at);
        let bytes = std::mem::replace(&mut self.bytes, rest);
        let since = self.since.take().unwrap_or(now);
        self.since = (!self.bytes.is_empty()).then_some(now);
        Chunk { bytes, at: since }
    }
}

/// Returns the length of the longest prefix of `bytes` that does not end inside a character. Bytes that
/// are no UTF-8 may be cut anywhere.
fn boundary(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3)..bytes.len();
    for start in tail.rev() {
        let needed = match bytes[start] {
            0x00..=0x7f => return bytes.len(),
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
        };
        let present = bytes.len() - start;
        return if present < needed { start } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests;
