//! Request bodies: read and decompressed within limits of size, memory and time.

mod reading;

use std::{
    io::{self, Read},
    time::Duration,
};

use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use service_runtime::{MemoryPool, MemoryPressure, Reservation};

pub(crate) use self::reading::discard;

use crate::problem::Problem;

/// The largest body in bytes, before and after decompression. No reason for the number but to bound memory.
pub(crate) const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// The longest that a request may wait for memory, or for a permit to be processed.
pub(crate) const ADMISSION_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest zstd window that is decoded: 16 MiB, the size of the largest body.
const MAX_WINDOW_LOG: u32 = 24;
/// How zstd says that a body has a larger one.
const WINDOW_TOO_LARGE: &str = "requires too much memory";

/// Memory that a body takes while it is processed, as a multiple of its bytes: itself, the frames that it
/// becomes, compressed and not, and the ids and places of its events, measured with tiny events.
const PROCESSING_FACTOR: usize = 4;
/// The parts of the budget: one for small bodies, one to read large ones, the others to process them.
const BUDGET_PARTS: usize = 2 + PROCESSING_FACTOR;
/// The least budget: one body of the largest size is read while another is processed.
pub(crate) const MIN_BUDGET_BYTES: usize = BUDGET_PARTS * MAX_BODY_BYTES;
/// The largest body that is tiny, as an agent sends them one by one: it never waits for any other.
pub(super) const MAX_TINY_BYTES: usize = 16 * 1024;
/// The largest body that is small: it is read and parsed in a few milliseconds, and never waits for large ones.
pub(crate) const MAX_SMALL_BYTES: usize = 512 * 1024;

/// The content-encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// The encoding by the `content-encoding` header; a problem when it is not supported.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(value) = headers.get(header::CONTENT_ENCODING) else {
            return Ok(Self::Identity);
        };
        let value = value.to_str().unwrap_or("?").trim();
        match value.to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(Problem {
                code: "unsupported_content_encoding",
                ..Problem::unsupported(format!(
                    "content-encoding {value:?} is not supported; send gzip, zstd or identity"
                ))
            }),
        }
    }

    /// Decompresses the body, up to [`MAX_BODY_BYTES`].
    pub(crate) fn decode(self, raw: Bytes) -> Result<Bytes, Problem> {
        let decoded = match self {
            Self::Identity => return Ok(raw),
            Self::Gzip => read_limited(MultiGzDecoder::new(&raw[..])),
            Self::Zstd => zstd(&raw).and_then(read_limited),
        };
        let decoded = decoded.map_err(|error| malformed(&error))?;
        decoded.ok_or_else(too_large)
    }
}

fn malformed(error: &io::Error) -> Problem {
    let detail = match error.to_string().contains(WINDOW_TOO_LARGE) {
        true => format!(
            "the zstd window of the body is larger than 2^{MAX_WINDOW_LOG} bytes; pack it with a window log of at most \
             {MAX_WINDOW_LOG}, without --long or --ultra"
        ),
        false => {
            "the body is not what its content-encoding says, or it was cut off; pack it again, or \
                  send it as it is"
                .to_owned()
        }
    };
    Problem::bad_request("malformed_encoding", detail)
}

/// A zstd decoder whose window is limited.
fn zstd(raw: &[u8]) -> io::Result<impl Read> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(decoder)
}

/// Reads to the end; `None` when there are more than [`MAX_BODY_BYTES`].
fn read_limited(source: impl Read) -> io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BODY_BYTES).expect("it fits") + 1;
    source.take(limit).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= MAX_BODY_BYTES).then(|| bytes.into()))
}

/// The memory for requests, shared by all of them. A sixth is for small bodies: an eighth of it while tiny ones are
/// read, a quarter while others are, and the rest while both are processed; a sixth is for large ones that are read,
/// and the rest for those that are processed.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    reading: Lanes,
    small: MemoryPool,
    large: MemoryPool,
    /// Of what clients hold that do not send the rest of a body.
    pressure: MemoryPressure,
}

/// The memory for bodies that are read, by their size.
#[derive(Debug)]
struct Lanes {
    tiny: MemoryPool,
    small: MemoryPool,
    large: MemoryPool,
}

impl Lanes {
    /// That of a body of `bytes`.
    fn of(&self, bytes: usize) -> &MemoryPool {
        match bytes {
            bytes if bytes <= MAX_TINY_BYTES => &self.tiny,
            bytes if bytes <= MAX_SMALL_BYTES => &self.small,
            _ => &self.large,
        }
    }
}

/// A body that was read, with its reservation of memory.
#[derive(Debug)]
pub(crate) struct BufferedBody {
    pub(crate) bytes: Bytes,
    pub(crate) reservation: Reservation,
}

impl MemoryBudget {
    /// A budget of `bytes`, at least [`MIN_BUDGET_BYTES`].
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.max(MIN_BUDGET_BYTES);
        let part = bytes / BUDGET_PARTS;
        let pressure = MemoryPressure::default();
        let reading = |bytes| MemoryPool::new(bytes).held_by_clients(&pressure);
        Self {
            reading: Lanes {
                tiny: reading(part / 8),
                small: reading(part / 4),
                large: reading(part),
            },
            small: MemoryPool::new(part - part / 8 - part / 4),
            large: MemoryPool::new(bytes - 2 * part),
            pressure,
        }
    }

    /// Of the memory that slow clients hold.
    pub(crate) fn pressure(&self) -> MemoryPressure {
        self.pressure.clone()
    }

    /// Reserves what it takes to process a body of at most `bytes`, with `headers` bytes of its trace; waits its
    /// turn.
    ///
    /// # Errors
    /// The problem when it is not free in time.
    pub(crate) async fn process(
        &self,
        bytes: usize,
        headers: usize,
    ) -> Result<Processing, Problem> {
        let lane = match bytes <= MAX_SMALL_BYTES {
            true => &self.small,
            false => &self.large,
        };
        // No body of the largest size is refused because of its headers.
        let bytes = (bytes + headers) * PROCESSING_FACTOR;
        let reserved = lane.reserve(bytes.min(lane.bytes()), ADMISSION_TIMEOUT);
        let reserved = reserved.await.map_err(|_| Problem::overloaded())?;
        Ok(Processing(reserved))
    }
}

/// The memory of a request that is processed.
#[derive(Debug)]
pub(crate) struct Processing(Reservation);

impl Processing {
    /// Gives back what a body of `bytes` does not need.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        self.0.shrink_to(bytes * PROCESSING_FACTOR);
    }
}

fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("a body has at most {MAX_BODY_BYTES} bytes after decompression; send it in parts"),
    )
}

#[cfg(test)]
mod tests;
