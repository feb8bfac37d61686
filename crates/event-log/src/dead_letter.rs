//! Dead letters: frames of the log that cannot be read, kept unchanged until a person has decided.
//!
//! One subject per letter, so that a letter is stored once whatever crashes, and so that the open
//! letters of a partition are known without reading them.

mod closed;
mod flood;
mod halt;

use async_nats::{
    HeaderMap,
    jetstream::{
        self, ErrorCode,
        context::{GetStreamErrorKind, PublishErrorKind},
        message::PublishMessage,
        stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream},
    },
};
use bytes::Bytes;
use event::{PartitionId, Position, RangeSet, SeqRange, TenantId, Timestamp};
use futures::{StreamExt as _, TryStreamExt as _, stream};

pub use self::{
    flood::{Flood, FloodGuard},
    halt::{HALT_RETRY_INTERVAL, Halt},
};
use crate::{
    error::{Error, Result},
    log::EventLog,
    names,
    raw_message::{RawMessage, Which},
};

/// The name of the stream.
pub const DEAD_LETTER_STREAM: &str = "isotherm-dlq";
/// Its largest size: a consumer that cannot store a letter stops, so this is far above any accident.
const MAX_STREAM_BYTES: i64 = 1 << 30;
/// The longest reason that is stored, in bytes.
const MAX_REASON_BYTES: usize = 512;
/// The number of letters that are read concurrently: no reason but to bound the load.
const MAX_CONCURRENT_READS: usize = 16;

const POSITION: &str = "Isotherm-Position";
const REASON: &str = "Isotherm-Reason";
const RECEIVED_AT: &str = "Isotherm-Received-At";
const TENANT: &str = "Isotherm-Tenant";

/// A frame that cannot be read, whole or in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Of the frame; its `idx` is 0.
    pub position: Position,
    /// When the log stored the frame.
    pub received_at: Timestamp,
    /// Why it cannot be read.
    pub reason: String,
    /// `None` if that cannot be read either.
    pub tenant: Option<TenantId>,
    /// The frame, byte for byte.
    pub payload: Bytes,
}

impl EventLog {
    /// Creates the stream of the dead letters, or sets the replicas of the existing one.
    ///
    /// # Errors
    /// [`Error::Setup`] if the server refuses it. [`Error::Unavailable`]: retry.
    pub(crate) async fn ensure_dead_letters(&self, replicas: usize) -> Result<()> {
        let created = self
            .jetstream()
            .create_or_update_stream(config(replicas))
            .await;
        created.map_err(|error| Error::setup("create the stream of dead letters", error))?;
        Ok(())
    }

    /// Stores `letter` unless it is stored already or was closed. Call it before the offset moves past the frame.
    ///
    /// # Errors
    /// [`Error::DeadLettersFull`]: retry when a person has made room. [`Error::Unavailable`], also
    /// when it may have been stored: retry.
    pub async fn store_dead_letter(&self, letter: &DeadLetter) -> Result<()> {
        let message = || {
            PublishMessage::build()
                .headers(headers(letter))
                .payload(letter.payload.clone())
                .expected_last_subject_sequence(0)
        };
        if self.is_closed(letter.position).await? {
            return Ok(());
        }
        if self.dead_letter_stream().await?.is_none() {
            self.ensure_dead_letters(1).await?;
        }
        let subject = names::dead_letter_subject(letter.position);
        let sent = self.jetstream().send_publish(subject, message()).await;
        let acknowledged = match sent {
            Ok(sent) => sent.await.map(drop),
            Err(error) => Err(error),
        };
        let error = match acknowledged {
            Ok(()) => return Ok(()),
            // The subject has a message: this letter.
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => return Ok(()),
            Err(error) => error,
        };
        let source = std::error::Error::source(&error);
        let refusal = source.and_then(|source| source.downcast_ref::<jetstream::Error>());
        match refusal.map(jetstream::Error::error_code) {
            Some(ErrorCode::STREAM_STORE_FAILED | ErrorCode::INSUFFICIENT_RESOURCES) => {
                Err(Error::DeadLettersFull)
            }
            _ => Err(Error::unavailable("store a dead letter", error)),
        }
    }

    /// Returns the sequences of the open dead letters of `partition`.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn open_dead_letters(&self, partition: PartitionId) -> Result<RangeSet> {
        let filter = names::dead_letter_filter(partition);
        let positions = self.dead_letter_positions(&filter).await?;
        let ranges = positions.into_iter().map(|position| SeqRange {
            lo: position.seq,
            hi: position.seq,
        });
        Ok(ranges.collect())
    }

    /// Returns those of `unreadable`, the sequences of frames of `partition` that cannot be read, about which
    /// nobody has decided yet: open dead letters, and what the compactor has not seen. The others were
    /// dropped, or replayed, so their events lie elsewhere.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry. [`Error::Damaged`] if the watermark of warm cannot be parsed: permanent.
    pub async fn undecided(
        &self,
        partition: PartitionId,
        unreadable: &RangeSet,
    ) -> Result<RangeSet> {
        if unreadable.is_empty() {
            return Ok(RangeSet::new());
        }
        // In this order: a letter is stored before the watermark moves past its frame.
        let seen = self.warm_committed(partition).await?;
        let open = self.open_dead_letters(partition).await?;
        let seen: RangeSet = SeqRange::new(1, seen).into_iter().collect();
        let undecided = unreadable.subtract(&seen.subtract(&open));
        if undecided.subtract(&open).is_empty() {
            return Ok(undecided);
        }
        // The compactor reads the log again if the warm volume was lost.
        let closed = self.closed_dead_letters(partition).await?;
        Ok(undecided.subtract(&closed.subtract(&open)))
    }

    /// Reads all open dead letters, ascending by position.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        let positions = self.dead_letter_positions(names::DEAD_LETTERS).await?;
        let letters = stream::iter(positions)
            .map(|position| self.dead_letter(position))
            .buffered(MAX_CONCURRENT_READS)
            .try_filter_map(async |letter| Ok(letter));
        letters.try_collect().await
    }

    /// Reads the open dead letter at `position`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn dead_letter(&self, position: Position) -> Result<Option<DeadLetter>> {
        let stored = self.stored_dead_letter(position).await?;
        Ok(stored.map(|(_, message)| letter(position, message)))
    }

    /// Returns false if another has deleted it.
    async fn delete_dead_letter(&self, stream: &Stream, message: &RawMessage) -> Result<bool> {
        let deleted = stream.delete_message(message.seq).await;
        deleted.map_err(|error| Error::unavailable("delete a dead letter", error))
    }

    async fn stored_dead_letter(&self, position: Position) -> Result<Option<(Stream, RawMessage)>> {
        let Some(stream) = self.dead_letter_stream().await? else {
            return Ok(None);
        };
        let subject = names::dead_letter_subject(position);
        let which = Which::LastOf(&subject);
        let message = self.raw_message(DEAD_LETTER_STREAM, which).await?;
        Ok(message.map(|message| (stream, message)))
    }

    /// The positions of the letters whose subject matches `filter`, ascending.
    async fn dead_letter_positions(&self, filter: &str) -> Result<Vec<Position>> {
        let Some(stream) = self.dead_letter_stream().await? else {
            return Ok(Vec::new());
        };
        if stream.cached_info().state.messages == 0 {
            return Ok(Vec::new());
        }
        let unavailable = |error| Error::unavailable("list the dead letters", error);
        let subjects = stream.info_with_subjects(filter).await;
        let subjects =
            subjects.map_err(|error| Error::unavailable("list the dead letters", error))?;
        let mut positions: Vec<Position> = subjects
            .map_err(unavailable)
            .try_filter_map(async |(subject, _)| Ok(names::parse_dead_letter_subject(&subject)))
            .try_collect()
            .await?;
        positions.sort_unstable();
        Ok(positions)
    }

    /// The stream; `None` before it was created.
    async fn dead_letter_stream(&self) -> Result<Option<Stream>> {
        match self.jetstream().get_stream(DEAD_LETTER_STREAM).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(refusal)
                    if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(Error::unavailable("look up the dead letters", error)),
            },
        }
    }
}

fn config(replicas: usize) -> Config {
    Config {
        name: DEAD_LETTER_STREAM.to_owned(),
        subjects: vec![names::DEAD_LETTERS.to_owned()],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_bytes: MAX_STREAM_BYTES,
        num_replicas: replicas,
        allow_direct: true,
        ..Config::default()
    }
}

fn headers(letter: &DeadLetter) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(POSITION, letter.position.to_string());
    map.insert(REASON, header_text(&letter.reason));
    map.insert(RECEIVED_AT, letter.received_at.to_string());
    if let Some(tenant) = &letter.tenant {
        map.insert(TENANT, tenant.as_str());
    }
    map
}

/// One line of at most [`MAX_REASON_BYTES`]: a header must not contain line ends.
fn header_text(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if line.len() + c.len_utf8() > MAX_REASON_BYTES {
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

fn letter(position: Position, message: RawMessage) -> DeadLetter {
    let header = |name| message.header(name);
    let received_at = header(RECEIVED_AT).and_then(|text| text.parse().ok());
    DeadLetter {
        position,
        received_at: received_at.unwrap_or_default(),
        reason: header(REASON).unwrap_or_default().to_owned(),
        tenant: header(TENANT).and_then(|text| text.parse().ok()),
        payload: message.payload,
    }
}
