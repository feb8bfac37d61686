//! Request bodies: read and decompressed within limits of size, memory and time.

use std::{
    io::{self, Read},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures::StreamExt as _;
use service_runtime::{MemoryPool, Reservation};

use crate::problem::Problem;

/// The largest body in bytes, before and after decompression. No reason for the number but to bound memory.
pub(crate) const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// The longest that a body may take to arrive.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest pause between two chunks of a body.
const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a request may wait for memory, or for a permit to be processed.
pub(crate) const ADMISSION_TIMEOUT: Duration = Duration::from_secs(5);
/// A body with a content-length is preallocated up to so many times the size of its first chunk, so that a
/// client must send bytes to get memory.
const PREALLOCATION_FACTOR: usize = 64;
/// The most of a refused body that is read and discarded.
const MAX_DISCARDED_BYTES: usize = 8 * MAX_BODY_BYTES;
/// The longest that a refused body is read.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest zstd window that is decoded: 16 MiB, the size of the largest body.
const MAX_WINDOW_LOG: u32 = 24;

/// Memory that a body takes while it is processed, as a multiple of its bytes: itself, the frames that it
/// becomes, compressed and not, and the ids and places of its events, measured with tiny events.
const PROCESSING_FACTOR: usize = 4;
/// The parts of the budget: one for reading, one for small bodies, the others for large ones.
const BUDGET_PARTS: usize = 2 + PROCESSING_FACTOR;
/// The least budget: one body of the largest size is read while another is processed.
pub(crate) const MIN_BUDGET_BYTES: usize = BUDGET_PARTS * MAX_BODY_BYTES;
/// The largest body that is small: it is parsed in a few milliseconds, and never waits for large ones.
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
        let decoded = decoded.map_err(|_| {
            Problem::bad_request(
                "malformed_encoding",
                "the body is not what its content-encoding says, or it was cut off; pack it again, or send \
                 it as it is",
            )
        })?;
        decoded.ok_or_else(too_large)
    }
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

/// The memory for requests, shared by all of them. A sixth is for bodies that are being read, reserved for
/// the bytes that have arrived and not for the announced length, so that an idle client reserves nothing; a
/// sixth is for small bodies that are processed, and the rest for large ones.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    reading: MemoryPool,
    small: MemoryPool,
    large: MemoryPool,
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
        Self {
            reading: MemoryPool::new(part),
            small: MemoryPool::new(part),
            large: MemoryPool::new(bytes - 2 * part),
        }
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
        let lane = if bytes <= MAX_SMALL_BYTES {
            &self.small
        } else {
            &self.large
        };
        // No body of the largest size is refused because of its headers.
        let bytes = (bytes + headers) * PROCESSING_FACTOR;
        let reserved = lane.reserve(bytes.min(lane.bytes()), ADMISSION_TIMEOUT);
        let reserved = reserved.await.map_err(|_| Problem::overloaded())?;
        Ok(Processing(reserved))
    }

    /// Reads the body, still compressed, within [`BODY_READ_TIMEOUT`] and without a pause of
    /// [`BODY_IDLE_TIMEOUT`].
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<BufferedBody, Problem> {
        let announced = headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse().ok());
        if announced.is_some_and(|bytes: usize| bytes > MAX_BODY_BYTES) {
            discard(body).await;
            return Err(too_large());
        }
        let chunks = body.into_data_stream();
        let read = self.read_chunks(chunks, announced.unwrap_or_default());
        let read = tokio::time::timeout(BODY_READ_TIMEOUT, read).await;
        read.unwrap_or_else(|_| {
            let detail = format!("did not arrive within {BODY_READ_TIMEOUT:?}");
            Err(too_slow(detail))
        })
    }

    async fn read_chunks(
        &self,
        mut chunks: BodyDataStream,
        announced: usize,
    ) -> Result<BufferedBody, Problem> {
        let (mut buffer, mut reservation) = (BytesMut::new(), self.reading.empty());
        loop {
            let chunk = tokio::time::timeout(BODY_IDLE_TIMEOUT, chunks.next()).await;
            let chunk = chunk.map_err(|_| too_slow(format!("paused for {BODY_IDLE_TIMEOUT:?}")))?;
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|_| {
                let detail = "the body ended before it was complete; send it again";
                Problem::bad_request("incomplete_body", detail)
            })?;
            let bytes = buffer.len() + chunk.len();
            if bytes > MAX_BODY_BYTES {
                drop((buffer, reservation));
                discard_chunks(chunks).await;
                return Err(too_large());
            }
            if reservation.grow_to(bytes, ADMISSION_TIMEOUT).await.is_err() {
                drop((buffer, reservation));
                discard_chunks(chunks).await;
                return Err(Problem::overloaded());
            }
            if buffer.is_empty() {
                // Preallocate, so that the buffer is not copied as it grows.
                buffer.reserve(announced.min(chunk.len() * PREALLOCATION_FACTOR));
            }
            buffer.extend_from_slice(&chunk);
        }
        Ok(BufferedBody {
            bytes: buffer.freeze(),
            reservation,
        })
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

fn too_slow(what: String) -> Problem {
    let detail = format!("the body {what}; send it again, in smaller parts");
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
}

/// Reads and drops the rest of a refused body, within limits: a client whose connection is closed while it
/// writes does not read the response.
pub(crate) async fn discard(body: Body) {
    discard_chunks(body.into_data_stream()).await;
}

async fn discard_chunks(mut chunks: BodyDataStream) {
    let read = async {
        let mut left = MAX_DISCARDED_BYTES;
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // After the timeout the connection is closed.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, read).await;
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
