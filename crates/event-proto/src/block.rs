//! Blocks: many encoded events as one run of bytes, compressed if that is worth its cost.

use std::cell::RefCell;

use bytes::Bytes;
use lz4::block::CompressionMode;

use crate::{
    canonical::{Encoded, EncodedEvent},
    error::DecodeError,
    wire::Compression,
};

/// Smaller blocks are not compressed: it would cost more than it saves.
const MIN_COMPRESSED_BYTES: usize = 512;
/// The start of a block that is compressed on trial, to estimate how far the whole would shrink.
const SAMPLE_BYTES: usize = 8 * 1024;
/// The largest compressed size of the sample, in percent, at which the block is compressed. The
/// whole shrinks further than its sample: measured, to 58 % where the sample shrinks to 74 %, and to
/// 31 % where it shrinks to 37 %.
const MAX_SAMPLE_PERCENT: usize = 60;

/// The destination of a block: decides whether it is compressed. The number is the acceleration of
/// LZ4; higher is faster and compresses less. Measured on events of agents, by `cargo xtask bench`:
/// 1 takes 0.47 s per million events and leaves 188 bytes of 334 each, 2 takes 0.39 s and leaves
/// 197, 4 takes 0.33 s and leaves 207.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CompressionProfile {
    /// A frame of the log, which is soon read and purged: compressed only if that about halves it.
    /// At 207 bytes of 334 the log spends 0.2 s less per million events, but compressing them costs
    /// 0.4 s and reading them 0.1 s.
    Log = 4,
    /// A pack of the hot tier, which stays in memory: compressed if that saves any bytes.
    HotTier = 2,
}

impl CompressionProfile {
    /// Returns true if `raw` is worth a try to compress it.
    fn should_compress(self, raw: &[u8]) -> bool {
        raw.len() >= MIN_COMPRESSED_BYTES
            && match self {
                Self::HotTier => true,
                Self::Log => {
                    let sample = &raw[..raw.len().min(SAMPLE_BYTES)];
                    compress(sample, self, <[u8]>::len) * 100 <= sample.len() * MAX_SAMPLE_PERCENT
                }
            }
    }
}

/// The fields that a frame and a pack have in common: events, concatenated, with the checksum
/// and the uncompressed length of each.
pub(crate) struct Block {
    pub(crate) crc32c: Vec<u32>,
    pub(crate) lengths: Vec<u32>,
    pub(crate) compression: Compression,
    pub(crate) events: Bytes,
}

/// Builder of a block: the events so far, not compressed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockBuilder {
    crc32c: Vec<u32>,
    lengths: Vec<u32>,
    raw: Vec<u8>,
}

impl BlockBuilder {
    pub(crate) fn with_capacity(events: usize, bytes: usize) -> Self {
        Self {
            crc32c: Vec::with_capacity(events),
            lengths: Vec::with_capacity(events),
            raw: Vec::with_capacity(bytes),
        }
    }

    pub(crate) fn push(&mut self, event: Encoded<'_>) {
        self.crc32c.push(event.crc32c);
        let length = u32::try_from(event.bytes.len()).expect("an event is at most 256 KiB");
        self.lengths.push(length);
        self.raw.extend_from_slice(event.bytes);
    }

    /// Adds the events of `other` behind its own.
    pub(crate) fn append(&mut self, other: &Self) {
        self.crc32c.extend_from_slice(&other.crc32c);
        self.lengths.extend_from_slice(&other.lengths);
        self.raw.extend_from_slice(&other.raw);
    }

    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.raw.len()
    }

    pub(crate) fn into_block(self, profile: CompressionProfile) -> Block {
        let raw = self.raw;
        let compressed = profile
            .should_compress(&raw)
            .then(|| compress(&raw, profile, <[u8]>::to_vec));
        let (compression, events) = match compressed {
            Some(compressed) if compressed.len() < raw.len() => (Compression::Lz4, compressed),
            _ => (Compression::None, raw),
        };
        Block {
            crc32c: self.crc32c,
            lengths: self.lengths,
            compression,
            events: events.into(),
        }
    }
}

thread_local! {
    /// The output buffer of [`compress`], reused so that it is not zeroed for each block.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Compresses `raw` and returns what `read` returns for the compressed bytes.
fn compress<T>(raw: &[u8], profile: CompressionProfile, read: impl FnOnce(&[u8]) -> T) -> T {
    let mode = CompressionMode::FAST(profile as i32);
    SCRATCH.with_borrow_mut(|scratch| {
        let bound = lz4::block::compress_bound(raw.len());
        let bound = bound.expect("a block is far below 2 GiB");
        if scratch.len() < bound {
            scratch.resize(bound, 0);
        }
        let length = lz4::block::compress_to_buffer(raw, Some(mode), false, scratch);
        let length = length.expect("the buffer has room for the worst case");
        read(&scratch[..length])
    })
}

/// Decompresses to at most `total` bytes.
fn decompress(compressed: &[u8], total: usize) -> Result<Bytes, DecodeError> {
    let total = i32::try_from(total).map_err(|_| DecodeError::Shape("lengths"))?;
    let raw = lz4::block::decompress(compressed, Some(total));
    Ok(raw.map_err(|_| DecodeError::Compression)?.into())
}

/// Splits a block into its events, without copying them if it is not compressed. Checksums are not
/// verified yet: [`EncodedEvent::decode`] does that.
/// A block of more than `max` bytes is refused before it is decompressed.
pub(crate) fn decode(block: &Block, max: usize) -> Result<Vec<EncodedEvent>, DecodeError> {
    if block.crc32c.len() != block.lengths.len() {
        return Err(DecodeError::Shape("crc32c"));
    }
    let total = block.lengths.iter().map(|len| *len as usize).sum::<usize>();
    if total > max {
        let (field, found) = ("events", total);
        return Err(DecodeError::TooLarge { field, found, max });
    }
    let mut raw = match block.compression {
        Compression::None => block.events.clone(),
        Compression::Lz4 => decompress(&block.events, total)?,
    };
    if raw.len() != total {
        return Err(DecodeError::Shape("events"));
    }
    let headers = block.lengths.iter().zip(&block.crc32c);
    Ok(headers
        .map(|(len, crc32c)| EncodedEvent {
            bytes: raw.split_to(*len as usize),
            crc32c: *crc32c,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that LZ4 shrinks to about a half, and one that it cannot shrink.
    fn texts() -> [String; 2] {
        let number = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let random = |n: u64| format!("{:016x}{:016x}", number(n), number(number(n)));
        let half = (0..2_000).map(|n| random(n) + "the same text comes again and ag");
        [half.collect(), (0..4_000).map(random).collect()]
    }

    fn compression(text: &str, profile: CompressionProfile) -> Compression {
        let mut events = BlockBuilder::default();
        for chunk in text.as_bytes().chunks(500) {
            events.push(Encoded {
                bytes: chunk,
                crc32c: 0,
            });
        }
        let block = events.into_block(profile);
        let decoded = decode(&block, usize::MAX).unwrap();
        let bytes = decoded.iter().flat_map(|event| event.bytes.iter().copied());
        assert!(bytes.eq(text.bytes()));
        block.compression
    }

    #[test]
    fn the_log_compresses_what_shrinks_to_about_a_half_and_the_hot_tier_what_shrinks_at_all() {
        let [half, random] = texts();
        assert_eq!(
            compression(&half, CompressionProfile::Log),
            Compression::Lz4
        );
        assert_eq!(
            compression(&random, CompressionProfile::Log),
            Compression::None
        );
        assert_eq!(
            compression(&half, CompressionProfile::HotTier),
            Compression::Lz4
        );
        let little = random[..40_000].to_owned() + &half[..4_000];
        assert_eq!(
            compression(&little, CompressionProfile::Log),
            Compression::None
        );
        assert_eq!(
            compression(&little, CompressionProfile::HotTier),
            Compression::Lz4
        );
    }
}
