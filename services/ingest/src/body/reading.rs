//! The arrival of a body: its client must be fast enough, and its bytes are reserved before they are kept.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use service_runtime::{Pace, Reservation};

use super::{
    ADMISSION_TIMEOUT, BufferedBody, MAX_BODY_BYTES, MAX_SMALL_BYTES, MemoryBudget, too_large,
};
use crate::problem::Problem;

/// The longest that a body may take to arrive.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest pause between two chunks of a body.
const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// A body gets memory for all of its announced bytes when one in so many has arrived: a client must send
/// bytes to get memory, and bodies that have some of it do not wait for each other.
const RESERVE_FACTOR: usize = 64;
/// The longest that a body waits for memory while it has some.
const CHANGE_TIMEOUT: Duration = Duration::from_millis(250);
/// The most of a refused body that is read and discarded.
const MAX_DISCARDED_BYTES: usize = 8 * MAX_BODY_BYTES;
/// The longest that a refused body is read.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

impl MemoryBudget {
    /// Reads the body, still compressed, within [`BODY_READ_TIMEOUT`], without a pause of [`BODY_IDLE_TIMEOUT`],
    /// and faster while others wait for memory.
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
        let arriving = ArrivingBody {
            budget: self,
            chunks: body.into_data_stream(),
            announced,
            pace: Pace::new(self.pressure()),
        };
        let read = tokio::time::timeout(BODY_READ_TIMEOUT, arriving.read()).await;
        read.unwrap_or_else(|_| {
            let detail = format!("did not arrive within {BODY_READ_TIMEOUT:?}");
            Err(too_slow(detail))
        })
    }

    /// Extends `memory` to the `needed` bytes of a body that is being read. One that did not say how large it
    /// is leaves the small ones when it has become large; it waits for that but a moment, in which it has its place
    /// among them.
    async fn reserve_reading(
        &self,
        needed: usize,
        announced: Option<usize>,
        memory: Option<Reservation>,
    ) -> Result<Reservation, Problem> {
        let lane = self.reading.of(announced.unwrap_or(needed));
        let reserved = match memory {
            Some(mut memory) if memory.is_of(lane) => memory
                .grow_to(needed, ADMISSION_TIMEOUT)
                .await
                .map(|()| memory),
            Some(_small) => lane.reserve(needed, CHANGE_TIMEOUT).await,
            None => lane.reserve(needed, ADMISSION_TIMEOUT).await,
        };
        reserved.map_err(|_| Problem::overloaded())
    }
}

/// A body of which some has arrived.
struct ArrivingBody<'a> {
    budget: &'a MemoryBudget,
    chunks: BodyDataStream,
    /// The bytes of the whole body, if its client says how many.
    announced: Option<usize>,
    pace: Pace,
}

impl ArrivingBody<'_> {
    async fn read(mut self) -> Result<BufferedBody, Problem> {
        let (budget, announced) = (self.budget, self.announced);
        let (mut bytes, mut memory) = (BytesMut::new(), None);
        while let Some(chunk) = self.next_chunk().await? {
            let arrived = bytes.len() + chunk.len();
            let needed = needed(announced, arrived);
            let reserved = match arrived <= MAX_BODY_BYTES {
                true => {
                    budget
                        .reserve_reading(needed, announced, memory.take())
                        .await
                }
                false => Err(too_large()),
            };
            match reserved {
                Ok(reserved) => memory = Some(reserved),
                Err(refusal) => {
                    drop(bytes);
                    discard_chunks(self.chunks).await;
                    return Err(refusal);
                }
            }
            // So that the bytes are not copied as they become more.
            bytes.reserve(needed - bytes.len());
            bytes.extend_from_slice(&chunk);
        }
        Ok(BufferedBody {
            bytes: bytes.freeze(),
            reservation: memory.unwrap_or_else(|| budget.reading.tiny.empty()),
        })
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        let next = self.pace.wait(self.chunks.next());
        let next = tokio::time::timeout(BODY_IDLE_TIMEOUT, next).await;
        let next = next.map_err(|_| too_slow(format!("paused for {BODY_IDLE_TIMEOUT:?}")))?;
        let Some(next) = next else {
            return Err(too_slow(
                "came slowly while others waited for memory".to_owned(),
            ));
        };
        let chunk = next.transpose().map_err(|_| {
            let detail = "the body ended before it was complete; send it again";
            Problem::bad_request("incomplete_body", detail)
        })?;
        self.pace.moves(chunk.as_ref().map_or(0, Bytes::len));
        Ok(chunk)
    }
}

/// The bytes that a body takes of which so many have `arrived`, when its client has `announced` so many.
fn needed(announced: Option<usize>, arrived: usize) -> usize {
    match announced {
        Some(announced) if announced <= arrived.saturating_mul(RESERVE_FACTOR) => {
            announced.max(arrived)
        }
        Some(_) => arrived,
        None if arrived <= MAX_SMALL_BYTES => MAX_SMALL_BYTES,
        None => MAX_BODY_BYTES,
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

#[cfg(test)]
mod tests {
    use std::io;

    use super::{super::MIN_BUDGET_BYTES, *};

    #[test]
    fn all_of_a_body_is_reserved_when_a_part_of_it_has_arrived() {
        assert_eq!(needed(Some(64_000), 999), 999);
        assert_eq!(needed(Some(64_000), 1000), 64_000);
        assert_eq!(needed(Some(64_000), 64_000), 64_000);
        assert_eq!(needed(None, 1), MAX_SMALL_BYTES);
        assert_eq!(needed(None, MAX_SMALL_BYTES), MAX_SMALL_BYTES);
        assert_eq!(needed(None, MAX_SMALL_BYTES + 1), MAX_BODY_BYTES);
    }

    #[tokio::test]
    async fn a_body_that_did_not_say_that_it_is_large_leaves_the_small_ones() {
        let budget = MemoryBudget::new(MIN_BUDGET_BYTES);
        let chunks = futures::stream::iter(
            [1, MAX_SMALL_BYTES].map(|bytes| Ok::<_, io::Error>(vec![b' '; bytes])),
        );
        let headers = HeaderMap::new();
        let read = budget.read(&headers, Body::from_stream(chunks));
        let read = read.await.unwrap();
        assert!(read.reservation.is_of(&budget.reading.large));
        let small = &budget.reading.small;
        small.reserve(small.bytes(), Duration::ZERO).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_byte_by_byte_ends_at_its_time() {
        let budget = MemoryBudget::new(MIN_BUDGET_BYTES);
        let bytes = futures::stream::unfold((), async |()| {
            tokio::time::sleep(BODY_IDLE_TIMEOUT - Duration::from_secs(1)).await;
            Some((Ok::<_, io::Error>(Bytes::from_static(b" ")), ()))
        });
        let began = tokio::time::Instant::now();
        let headers = HeaderMap::new();
        let read = budget.read(&headers, Body::from_stream(bytes));
        let read = tokio::time::timeout(2 * BODY_READ_TIMEOUT, read).await;
        let problem = read.expect("it is not read for ever").unwrap_err();
        assert_eq!(problem.code, "request_timeout");
        assert_eq!(began.elapsed(), BODY_READ_TIMEOUT);
    }
}
