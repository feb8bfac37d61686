//! Many encoded events as one block of bytes, compressed when that pays.

use bytes::Bytes;
use lz4::block::CompressionMode;

use crate::{DecodeError, Encoded, EncodedEvent, wire::Compression};

/// No block that we write is larger before compression; a length beyond it is damage, not data.
const MAX_BLOCK_BYTES: usize = 64 * 1024 * 1024;
/// Below this, compression costs more than it saves.
const WORTH_COMPRESSING: usize = 512;

/// How much LZ4 looks for what it can leave out: its acceleration. Measured on events of agents, by
/// `cargo xtask bench`: 1 takes 0.47 s per million events and leaves 188 bytes of 334 each, 2 takes
/// 0.39 s and leaves 197, 4 takes 0.33 s and leaves 207.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effort {
    /// For what is soon read and gone.
    Low = 4,
    /// For what stays in memory.
    Usual = 2,
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
        let packed = (raw.len() >= WORTH_COMPRESSING).then(|| compress(&raw, effort));
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

fn compress(raw: &[u8], effort: Effort) -> Vec<u8> {
    let mode = CompressionMode::FAST(effort as i32);
    lz4::block::compress(raw, Some(mode), false).expect("a block is far below 2 GiB")
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
