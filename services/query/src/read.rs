//! One conversation, read across the tiers: the same path for a page and for a tail.
//!
//! A read asks the hot tier and the log first, plans, reads piece after piece in the requested order
//! and stops when it has enough rows. If the source of a piece has changed or does not answer, the
//! read plans again; a source that keeps failing is excluded, and what only it has is reported as
//! missing.

mod attempt;
mod duplicates;
mod hot;
mod ordered_ranges;
mod within_memory;

use std::{collections::BTreeSet, time::Duration};

use event::{Position, RangeSet, Seq, SeqRange, StoredEvent};
use tokio::time::Instant;

use self::attempt::Attempt;
use crate::{
    dedup_wait::DedupState,
    error::Result,
    memory::row_bytes,
    merge::{ReadOrder, merge},
    plan::Source,
    read_limit::ReadLimit,
    retention_filter,
    retry::RetryState,
    rows::ReadRequest,
    sources::Sources,
};

/// Rows and bytes of one chunk; bound the memory that large events take at once.
const CHUNK_ROWS: usize = 1000;
const CHUNK_BYTES: usize = 4 << 20;
/// Rows scanned for one page when few of them match; bounds the time that a page takes.
const MAX_SCANNED_ROWS: usize = 100_000;
/// Time after which a page ends with what it has and where the next one begins: few rows of what it reads match.
const MAX_PAGE_TIME: Duration = Duration::from_secs(5);
/// Chunks of one page that may end because of too many duplicates; bounds the time that a page takes.
const MAX_DUPLICATE_CHUNKS: usize = 4;

/// A page of one conversation, or a part of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) rows: Vec<StoredEvent>,
    /// Where the next page begins; `None` when there is no more.
    pub(crate) next: Option<Position>,
    pub(crate) missing: Missing,
    /// Frames of the range that cannot be read, whole or in part.
    pub(crate) dead_letters: RangeSet,
    pub(crate) sources: BTreeSet<Source>,
    /// The last sequence of the log when it was read; `None` when the log did not answer.
    pub(crate) log_last: Option<Seq>,
    /// Whether the bytes of the limit ended the page, before the next row.
    pub(crate) is_cut: bool,
    /// The bytes of the rows, by [`row_bytes`].
    pub(crate) bytes: usize,
    /// Up to here no row is a duplicate of another one, in this page or outside of it.
    checked: Seq,
    /// Ranges that could not be read when unchecked rows had to be compared with them: the rows may
    /// be duplicates of events there.
    not_compared: RangeSet,
    /// Whether duplicates were dropped, so that there may be fewer rows than the limit.
    has_dropped_duplicates: bool,
}

impl Page {
    /// Drops those of `rows` by which the page would have more bytes than `limit`, and those behind them.
    /// Rows beyond the number that it may have do not count.
    fn cut(&mut self, rows: &mut Vec<StoredEvent>, limit: ReadLimit) {
        let mut bytes = self.bytes;
        let exceeds = |row: &StoredEvent| {
            bytes += row_bytes(row);
            bytes > limit.bytes
        };
        let left = limit.rows - self.rows.len();
        if let Some(count) = rows.iter().take(left).position(exceeds) {
            self.is_cut = true;
            rows.truncate(count);
        }
    }

    /// Adds rows that were read when duplicates were known up to `checked`. A row that was unchecked
    /// when it was read stays unchecked, even if the state of the tiers is newer by now.
    fn add_rows(&mut self, more: Vec<StoredEvent>, checked: Seq, order: ReadOrder) {
        self.checked = self.checked.min(checked);
        let mut rows = std::mem::take(&mut self.rows);
        rows.extend(more);
        self.rows = merge(rows, self.checked, order);
    }

    /// Returns the ranges that no source had, be it for the answer or for the comparison, and those
    /// that cannot be read.
    pub(crate) fn gaps(&self) -> Missing {
        let mut gaps = self.missing.clone();
        gaps.ranges.extend(self.not_compared.clone());
        gaps.ranges.extend(self.dead_letters.clone());
        gaps
    }
}

/// The gaps of an answer: ranges of one partition that no source had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) ranges: RangeSet,
    /// Start of a gap without an end: the log did not answer, so anything from here on may be missing.
    pub(crate) open_from: Option<Seq>,
}

impl Missing {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.open_from.is_none()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.ranges.extend(other.ranges.clone());
        self.open_from = self.open_from.or(other.open_from);
    }
}

/// The rows of one attempt.
#[derive(Debug, Default)]
struct Chunk {
    rows: Vec<StoredEvent>,
    /// Offset of the last row when the limit ended the attempt; `None` when all was read.
    reached: Option<(Seq, u16)>,
    /// The attempt ended because it met too many duplicates, whatever rows it has.
    met_duplicates: bool,
    missing: Missing,
    /// Frames that cannot be read, of the range that was read.
    dead_letters: RangeSet,
    sources: BTreeSet<Source>,
    checked: Seq,
    log_last: Option<Seq>,
}

impl Chunk {
    /// Keeps the dead letters of the part of `all` that was read. A letter at the offset behind which
    /// a read begins was named when that was read.
    fn keep_dead_letters_of(&mut self, all: SeqRange, after: Option<(Seq, u16)>, order: ReadOrder) {
        let (mut lo, mut hi) = (all.lo, all.hi);
        if after.is_some_and(|after| after == (lo, u16::MAX)) {
            lo += 1;
        }
        match (self.reached, order) {
            (Some((seq, _)), ReadOrder::Asc) => hi = seq,
            (Some((seq, _)), ReadOrder::Desc) => lo = seq,
            (None, _) => {}
        }
        let read = SeqRange::new(lo, hi);
        self.dead_letters = read
            .map(|read| self.dead_letters.intersect(read))
            .unwrap_or_default();
    }
}

impl Sources {
    /// Reads visible rows up to `limit`, without duplicates within the page and without those that `dedup`
    /// knows. A page that is cut may have no row.
    async fn page(
        &self,
        mut request: ReadRequest,
        limit: ReadLimit,
        dedup: &DedupState,
    ) -> Result<Page> {
        let rules = self.rules();
        let now = match retention_filter::can_expire(&rules) {
            true => Some(self.now().await?),
            false => None,
        };
        let selective = now.is_some() || !request.types.is_all() || dedup.from_compactor.is_some();
        let mut page = Page {
            checked: Seq::MAX,
            ..Page::default()
        };
        let (mut scanned, mut duplicate_chunks, began) = (0, 0, Instant::now());
        loop {
            let left = limit.rows - page.rows.len();
            let chunk_limit = ReadLimit {
                rows: match selective {
                    true => CHUNK_ROWS,
                    false => left.min(CHUNK_ROWS),
                },
                bytes: limit.bytes.min(CHUNK_BYTES),
            };
            let chunk = self.read_chunk(&request, chunk_limit).await?;
            scanned += chunk.rows.len();
            duplicate_chunks += usize::from(chunk.met_duplicates);
            page.missing.add(&chunk.missing);
            page.dead_letters.extend(chunk.dead_letters);
            page.sources.extend(&chunk.sources);
            page.log_last = page.log_last.or(chunk.log_last);
            let checked = dedup.checked_through(chunk.checked);
            let visible = chunk.rows.into_iter().filter(|row| {
                request.types.matches(row.event.event_type.as_str())
                    && !dedup.is_duplicate(&row.position)
                    && now.is_none_or(|now| retention_filter::is_visible(&rules, row, now))
            });
            let mut visible: Vec<_> = visible.collect();
            page.cut(&mut visible, limit);
            page.add_rows(visible, checked, request.order);
            let is_full = page.rows.len() >= limit.rows || page.is_cut;
            page.rows.truncate(limit.rows);
            page.bytes = page.rows.iter().map(row_bytes).sum();
            page.next = match (is_full, chunk.reached) {
                (true, _) => page.rows.last().map(|row| row.position),
                (false, reached) => {
                    reached.map(|(seq, idx)| Position::new(request.partition, seq, idx))
                }
            };
            let Some((seq, idx)) = chunk.reached.filter(|_| !is_full) else {
                return Ok(page);
            };
            let too_many_duplicates = duplicate_chunks >= MAX_DUPLICATE_CHUNKS;
            let takes_long = began.elapsed() >= MAX_PAGE_TIME;
            if scanned >= MAX_SCANNED_ROWS || too_many_duplicates || takes_long {
                return Ok(page);
            }
            match request.order {
                ReadOrder::Asc => request.after = Some((seq, idx)),
                ReadOrder::Desc => request.before = Some((seq, idx)),
            }
        }
    }

    /// Reads one chunk; plans again after failures that a retry can help.
    async fn read_chunk(&self, request: &ReadRequest, limit: ReadLimit) -> Result<Chunk> {
        let mut retry = RetryState::default();
        loop {
            let attempt = Box::pin(Attempt::start(self, request, limit, &retry)).await?;
            match Box::pin(attempt.run()).await {
                Ok(chunk) => return Ok(chunk),
                Err(error) => retry.back_off(error).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests;
