//! Many encoded events as one block of bytes, compressed when that pays.

use std::cell::RefCell;

use bytes::Bytes;
use lz4::block::CompressionMode;

use crate::{
    DecodeError,
    canonical::{Encoded, EncodedEvent},
    wire::Compression,
};

/// No block that we write is larger before compression; a length beyond it is damage, not data.
const MAX_BLOCK_BYTES: usize = 64 * 1024 * 1024;
/// Below this, compression costs more than it saves.
const WORTH_COMPRESSING: usize = 512;
/// The beginning that says what compression would make of the whole.
const SAMPLE_BYTES: usize = 8 * 1024;
/// What compression may leave of the beginning, in percent. The whole shrinks to less: 58 % where
/// the beginning shrinks to 74, 31 % where it shrinks to 37.
const MOST_LEFT: usize = 60;

/// Where a block goes: how much LZ4 looks for what it can leave out, its acceleration, and from
/// when on that pays. Measured on events of agents, by `cargo xtask bench`: 1 takes 0.47 s per
/// million events and leaves 188 bytes of 334 each, 2 takes 0.39 s and leaves 197, 4 takes 0.33 s
/// and leaves 207.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effort {
    /// For what is soon read and gone: only where it about halves the bytes. The log spends 0.2 s
    /// per million events less when 207 bytes of 334 are left, but compressing them costs 0.4 s and
    /// reading them 0.1 s.
    Low = 4,
    /// For what stays in memory: whenever it saves anything.
    Usual = 2,
}

impl Effort {
    fn pays(self, raw: &[u8]) -> bool {
        raw.len() >= WORTH_COMPRESSING
            && match self {
                Self::Usual => true,
                Self::Low => {
                    let sample = &raw[..raw.len().min(SAMPLE_BYTES)];
                    compress(sample, self, <[u8]>::len) * 100 <= sample.len() * MOST_LEFT
                }
            }
    }
}

pub(crate) struct Block {
    pub(crate) crc32c: Vec<u32>,
    pub(crate) lengths: Vec<u32>,
    pub(crate) compression: Compression,
    pub(crate) events: Bytes,
}

/// Events, one behind the other, on their way into a block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    crc32c: Vec<u32>,
    lengths: Vec<u32>,
    raw: Vec<u8>,
}

impl Events {
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

    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.raw.len()
    }

    pub(crate) fn into_block(self, effort: Effort) -> Block {
        let raw = self.raw;
        let packed = effort
            .pays(&raw)
            .then(|| compress(&raw, effort, <[u8]>::to_vec));
        let (compression, events) = match packed {
            Some(packed) if packed.len() < raw.len() => (Compression::Lz4, packed),
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
    /// Where compression writes to: memory that need not be cleared for each block.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What `take` makes of the compressed bytes.
fn compress<T>(raw: &[u8], effort: Effort, take: impl FnOnce(&[u8]) -> T) -> T {
    let mode = CompressionMode::FAST(effort as i32);
    SCRATCH.with_borrow_mut(|scratch| {
        let bound = lz4::block::compress_bound(raw.len());
        let bound = bound.expect("a block is far below 2 GiB");
        if scratch.len() < bound {
            scratch.resize(bound, 0);
        }
        let length = lz4::block::compress_to_buffer(raw, Some(mode), false, scratch);
        let length = length.expect("there is room for the worst case");
        take(&scratch[..length])
    })
}

/// The bytes, which must be `total`.
fn decompress(packed: &[u8], total: usize) -> Result<Bytes, DecodeError> {
    let total = i32::try_from(total).map_err(|_| DecodeError::Shape("lengths"))?;
    let raw = lz4::block::decompress(packed, Some(total));
    Ok(raw.map_err(|_| DecodeError::Compression)?.into())
}

/// The events of a block, without copying them when it is not compressed. Checksums are not
/// checked here but when an event is decoded.
pub(crate) fn decode(block: &Block) -> Result<Vec<EncodedEvent>, DecodeError> {
    if block.crc32c.len() != block.lengths.len() {
        return Err(DecodeError::Shape("crc32c"));
    }
    let total = block.lengths.iter().map(|len| *len as usize).sum::<usize>();
    if total > MAX_BLOCK_BYTES {
        return Err(DecodeError::Shape("lengths"));
    }
    let mut raw = match block.compression {
        Compression::None => block.events.clone(),
        Compression::Lz4 => decompress(&block.events, total)?,
    };
    if raw.len() != total {
        return Err(DecodeError::Shape("events"));
    }
    let checked = block.lengths.iter().zip(&block.crc32c);
    Ok(checked
        .map(|(len, crc32c)| EncodedEvent {
            bytes: raw.split_to(*len as usize),
            crc32c: *crc32c,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text of which LZ4 finds about one half again, and none.
    fn texts() -> [String; 2] {
        let number = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let random = |n: u64| format!("{:016x}{:016x}", number(n), number(number(n)));
        let half = (0..2_000).map(|n| random(n) + "the same text comes again and ag");
        [half.collect(), (0..4_000).map(random).collect()]
    }

    fn compression(text: &str, effort: Effort) -> Compression {
        let mut events = Events::default();
        for chunk in text.as_bytes().chunks(500) {
            events.push(Encoded {
                bytes: chunk,
                crc32c: 0,
            });
        }
        let block = events.into_block(effort);
        let decoded = decode(&block).unwrap();
        let bytes = decoded.iter().flat_map(|event| event.bytes.iter().copied());
        assert!(bytes.eq(text.bytes()));
        block.compression
    }

    #[test]
    fn the_log_gets_compressed_what_shrinks_to_about_a_half_and_memory_what_shrinks_at_all() {
        let [half, random] = texts();
        assert_eq!(compression(&half, Effort::Low), Compression::Lz4);
        assert_eq!(compression(&random, Effort::Low), Compression::None);
        assert_eq!(compression(&half, Effort::Usual), Compression::Lz4);
        let little = random[..40_000].to_owned() + &half[..4_000];
        assert_eq!(compression(&little, Effort::Low), Compression::None);
        assert_eq!(compression(&little, Effort::Usual), Compression::Lz4);
    }
}
