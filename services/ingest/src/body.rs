//! The bytes of a request: read, and decompressed, within a limit.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// The largest body, before and after decompression.
pub(crate) const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// How long a body may take to arrive.
const BODY: Duration = Duration::from_secs(30);
/// How long it may pause on its way.
const PROGRESS: Duration = Duration::from_secs(10);
/// How long a request may wait for memory, or for its turn.
pub(crate) const ADMISSION_TIMEOUT: Duration = Duration::from_secs(5);
/// In which memory for bodies is counted.
const UNIT: usize = 4096;
/// For how many times of its first bytes a body gets memory at once, when it says it is so long.
const AHEAD: usize = 64;
/// How much of a refused body is read, and for how long.
const MAX_DISCARDED_BYTES: usize = 8 * MAX_BODY_BYTES;
const DISCARD: Duration = Duration::from_secs(10);
/// The zstd window that we give memory to: 16 MiB, as much as the largest body.
const MAX_WINDOW_LOG: u32 = 24;

/// How the body was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
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

    /// The body itself.
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

fn zstd(raw: &[u8]) -> io::Result<impl Read> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
    decoder.window_log_max(MAX_WINDOW_LOG)?;
    Ok(decoder)
}

/// `None` when there is more than the limit.
fn read_limited(from: impl Read) -> io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BODY_BYTES).expect("it fits") + 1;
    from.take(limit).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= MAX_BODY_BYTES).then(|| bytes.into()))
}

/// The memory for bodies that arrive: shared by all, taken as bytes come and not as they are
/// announced, so that who sends nothing holds nothing.
#[derive(Debug)]
pub(crate) struct BodyBudget(Arc<Semaphore>);

/// A body, and its part of the memory.
#[derive(Debug)]
pub(crate) struct BufferedBody {
    pub(crate) bytes: Bytes,
    pub(crate) held: Option<OwnedSemaphorePermit>,
}

impl BodyBudget {
    /// Room for so many of the largest.
    pub(crate) fn new(largest: usize) -> Self {
        Self(Arc::new(Semaphore::new(largest * MAX_BODY_BYTES / UNIT)))
    }

    /// Reads the body as it came, within [`BODY`] and without a pause of [`PROGRESS`].
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
        let read = tokio::time::timeout(BODY, read).await;
        read.unwrap_or_else(|_| Err(too_slow(format!("did not arrive within {BODY:?}"))))
    }

    async fn read_chunks(
        &self,
        mut chunks: BodyDataStream,
        announced: usize,
    ) -> Result<BufferedBody, Problem> {
        let (mut whole, mut held) = (BytesMut::new(), None);
        loop {
            let chunk = tokio::time::timeout(PROGRESS, chunks.next()).await;
            let chunk = chunk.map_err(|_| too_slow(format!("paused for {PROGRESS:?}")))?;
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|_| {
                let detail = "the body ended before it was complete; send it again";
                Problem::bad_request("incomplete_body", detail)
            })?;
            if whole.len() + chunk.len() > MAX_BODY_BYTES {
                discard_chunks(chunks).await;
                return Err(too_large());
            }
            if let Err(problem) = self.take(whole.len() + chunk.len(), &mut held).await {
                discard_chunks(chunks).await;
                return Err(problem);
            }
            if whole.is_empty() {
                // Not copied again as it grows; and no memory for mere announcements.
                whole.reserve(announced.min(chunk.len() * AHEAD));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(BufferedBody {
            bytes: whole.freeze(),
            held,
        })
    }

    /// Makes `held` enough for `bytes`.
    async fn take(
        &self,
        bytes: usize,
        held: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<(), Problem> {
        let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).expect("a body is small");
        let more = Arc::clone(&self.0).acquire_many_owned(more);
        let more = tokio::time::timeout(ADMISSION_TIMEOUT, more).await;
        let more = more.map_err(|_| Problem::too_many_requests())?;
        let more = more.expect("the semaphore is never closed");
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }
}

fn too_slow(what: String) -> Problem {
    let detail = format!("the body {what}; send it again, in smaller parts");
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
}

/// Reads what a refused client still sends, within limits: one that is cut off while it writes
/// never reads why.
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
    // Too slow a client is cut off.
    let _ = tokio::time::timeout(DISCARD, read).await;
}

fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("a body has at most {MAX_BODY_BYTES} bytes after decompression; send it in parts"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    fn code(result: Result<Bytes, Problem>) -> (u16, &'static str) {
        let problem = result.unwrap_err();
        (problem.status.as_u16(), problem.code)
    }

    #[test]
    fn a_compressed_body_comes_out_whole() {
        let body = b"{\"a\":1}\n".repeat(1000);
        assert_eq!(Encoding::Gzip.decode(gzip(&body)).unwrap(), body);
        let packed = zstd::encode_all(&body[..], 3).unwrap();
        assert_eq!(Encoding::Zstd.decode(packed.into()).unwrap(), body);
        let twice = [gzip(&body), gzip(&body)].concat();
        assert_eq!(Encoding::Gzip.decode(twice.into()).unwrap().len(), 16_000);
    }

    #[test]
    fn a_bomb_is_too_large() {
        let zeros = vec![0; MAX_BODY_BYTES + 1];
        let packed = zstd::encode_all(&zeros[..], 3).unwrap();
        assert!(packed.len() < 10_000);
        let too_large = (413, "body_too_large");
        assert_eq!(code(Encoding::Zstd.decode(packed.into())), too_large);
        assert_eq!(code(Encoding::Gzip.decode(gzip(&zeros))), too_large);
        let allowed = gzip(&zeros[1..]);
        assert_eq!(
            Encoding::Gzip.decode(allowed).unwrap().len(),
            MAX_BODY_BYTES
        );
    }

    #[test]
    fn what_is_not_compressed_so_is_malformed() {
        let malformed = (400, "malformed_encoding");
        for bytes in [&b""[..], b"{}", b"\x1f\x8b\x08"] {
            let bytes = Bytes::copy_from_slice(bytes);
            assert_eq!(code(Encoding::Gzip.decode(bytes.clone())), malformed);
        }
        let whole = gzip(b"{\"a\":1}");
        let cut = whole.slice(..whole.len() - 4);
        assert_eq!(code(Encoding::Gzip.decode(cut)), malformed);
        let packed = zstd::encode_all(&b"{\"a\":1}"[..], 3).unwrap();
        let cut = Bytes::copy_from_slice(&packed[..packed.len() - 2]);
        assert_eq!(code(Encoding::Zstd.decode(cut)), malformed);
        let text = Bytes::from_static(b"{}");
        assert_eq!(code(Encoding::Zstd.decode(text)), malformed);
    }
}
