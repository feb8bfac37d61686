//! One attempt to read one conversation: ask the hot tier and the log, plan, read piece after piece in
//! the requested order, stop when there are enough rows.

mod pieces;

use std::sync::Arc;

use cold_tier::ColdSnapshot;
use event::{RangeSet, Seq, SeqRange};
use hot_tier::HotRead;
use warm_tier::remote::PartitionCoverage;

use super::{Chunk, hot::read_hot, ordered_ranges::ordered_ranges};
use crate::{
    cold::committed,
    error::QueryError,
    merge::{ReadOrder, merge},
    plan::{AvailableRanges, Prefer, Source, plan},
    read_limit::{FirstRows, ReadLimit},
    retry::{ExcludedSources, ReadError, RetryState},
    rows::{ReadRequest, SourceError},
    sources::{Sources, log_range},
    warm::warm_ranges,
};

/// One attempt: the request, and the state of the sources that it plans with.
pub(super) struct Attempt<'a> {
    sources: &'a Sources,
    request: &'a ReadRequest,
    limit: ReadLimit,
    /// Whether cached state of the tiers must not be used.
    needs_fresh_state: bool,
    excluded: ExcludedSources,
    hot: Option<HotRead>,
    /// The last sequence of the log.
    log_last: Option<Seq>,
    coverage: Option<PartitionCoverage>,
    snapshot: Option<Arc<ColdSnapshot>>,
    available: AvailableRanges,
    /// Frames that cannot be read: the open dead letters of the partition.
    dead_letters: RangeSet,
}

impl<'a> Attempt<'a> {
    /// Reads the hot tier, and asks the log for its state.
    ///
    /// # Errors
    ///
    /// `overloaded` when there is no memory to read the hot tier.
    pub(super) async fn start(
        sources: &'a Sources,
        request: &'a ReadRequest,
        limit: ReadLimit,
        retry: &RetryState,
    ) -> Result<Self, QueryError> {
        let excluded = retry.excluded;
        let (hot, log, dead_letters) = tokio::join!(
            read_hot(sources, request, limit, excluded.hot),
            sources.log_state(request.partition, excluded.log),
            sources.open_dead_letters(request.partition),
        );
        let hot = hot?;
        let available = AvailableRanges {
            hot: hot
                .as_ref()
                .and_then(|hot| SeqRange::new(hot.floor, hot.last)),
            log: log.and_then(|(first, last)| log_range(first, last)),
            ..AvailableRanges::default()
        };
        Ok(Self {
            sources,
            request,
            limit,
            needs_fresh_state: retry.needs_fresh_state(),
            excluded,
            hot,
            log_last: log.map(|(_, last)| last),
            coverage: None,
            snapshot: None,
            available,
            dead_letters,
        })
    }

    /// Plans and reads.
    ///
    /// # Errors
    ///
    /// [`ReadError::Source`] when a retry can help.
    pub(super) async fn run(mut self) -> Result<Chunk, ReadError> {
        let hot_last = self.hot.as_ref().map(|hot| hot.last);
        let newest = self.log_last.max(hot_last);
        if !self.hot_is_enough() {
            self.read_coverage(newest.unwrap_or(Seq::MAX)).await?;
        }
        let committed = self.coverage.as_ref().map(|coverage| coverage.committed);
        let Some(last) = newest.or_else(|| committed.max(self.available.cold)) else {
            let detail = "neither the log nor any tier answers now";
            return Err(QueryError::unavailable("nothing_readable", detail).into());
        };
        let mut chunk = Chunk {
            log_last: self.log_last,
            checked: match &self.hot {
                Some(hot) => hot.checked.min(hot.last),
                None => committed.unwrap_or(0),
            },
            ..Chunk::default()
        };
        let is_open_ended = self.request.before.is_none_or(|(seq, _)| seq > last);
        if self.log_last.is_none() && is_open_ended {
            chunk.missing.open_from = Some(last + 1);
        }
        let order = self.request.order;
        match self.range(last) {
            Some(all) => {
                let (after, dead_letters) = (self.request.after, self.dead_letters.clone());
                let hot_reached = self.hot_reached();
                let met_duplicates = self.hot.as_ref().is_some_and(|hot| hot.met_duplicates);
                let mut chunk = self.read_pieces(all, chunk).await?;
                chunk.met_duplicates = chunk.reached.is_none() && met_duplicates;
                chunk.reached = chunk.reached.or(hot_reached);
                chunk.dead_letters.extend(dead_letters);
                chunk.keep_dead_letters_of(all, after, order);
                Ok(chunk)
            }
            None => Ok(chunk),
        }
    }

    /// Returns the requested sequences up to `last`.
    fn range(&self, last: Seq) -> Option<SeqRange> {
        let mut lo = self.request.after.map_or(1, |(seq, _)| seq.max(1));
        let mut hi = self.request.before.map_or(last, |(seq, _)| seq.min(last));
        // The hot tier ended its read early: the next chunk reads what lies behind.
        match (self.hot_reached(), self.request.order) {
            (Some((seq, _)), ReadOrder::Asc) => hi = hi.min(seq),
            (Some((seq, _)), ReadOrder::Desc) => lo = lo.max(seq),
            (None, _) => {}
        }
        SeqRange::new(lo, hi)
    }

    /// Where the hot tier ended its read early.
    fn hot_reached(&self) -> Option<(Seq, u16)> {
        self.hot.as_ref().and_then(|hot| hot.reached)
    }

    /// Whether the hot tier alone can answer: nothing below its floor is requested, or it has all the
    /// rows that are.
    fn hot_is_enough(&self) -> bool {
        let Some((hot, range)) = self.hot.as_ref().zip(self.available.hot) else {
            return false;
        };
        let has_enough_rows = (hot.rows.len() >= self.limit.rows || hot.reached.is_some())
            && self.request.order == ReadOrder::Desc;
        has_enough_rows || self.request.after.map_or(1, |(seq, _)| seq) >= range.lo
    }

    /// Asks the warm tier for its coverage and, if warm lacks something, the cold tier for a snapshot.
    async fn read_coverage(&mut self, last: Seq) -> Result<(), ReadError> {
        let Some(range) = self.range(last) else {
            return Ok(());
        };
        let partition = self.request.partition;
        if !self.excluded.warm {
            self.coverage = self
                .sources
                .warm
                .partition(partition, self.needs_fresh_state)
                .await;
            self.available.warm = self.coverage.as_ref().map(warm_ranges);
        }
        let planned = plan(range, &self.available, Prefer::Hot);
        let warm = self.available.warm.as_ref();
        let incomplete = warm
            .map(|warm| warm.incomplete.intersect(range))
            .unwrap_or_default();
        let needs_cold = !incomplete.is_empty() || !planned.gaps.is_empty();
        if needs_cold && !self.excluded.cold {
            let need = incomplete.ranges().last().map_or(0, |range| range.hi);
            self.snapshot = self
                .sources
                .cold
                .snapshot(partition, need, self.needs_fresh_state)
                .await;
            let snapshot = self.snapshot.as_deref();
            self.available.cold = snapshot.map(|snapshot| committed(snapshot, partition));
        }
        // A gap may be a range that moved to another tier since the coverage was read.
        let gaps = plan(range, &self.available, Prefer::Hot).gaps;
        if !self.needs_fresh_state && !gaps.is_empty() {
            return Err(ReadError::Source(Source::Warm, SourceError::Stale));
        }
        Ok(())
    }

    /// Reads the pieces of the plan into `chunk` until it has reached the limit.
    async fn read_pieces(mut self, all: SeqRange, mut chunk: Chunk) -> Result<Chunk, ReadError> {
        for (range, source) in ordered_ranges(all, &self.available, self.request.order) {
            let left = self.limit.behind(&chunk.rows);
            let Some(source) = source else {
                chunk.missing.ranges.insert(range);
                // Warm may still have other retention classes of the range.
                let rest = self.read_warm(range, left).await.unwrap_or_default();
                if self.add(&mut chunk, rest, left) {
                    return Ok(chunk);
                }
                continue;
            };
            let piece = self.read_piece(source, range, left).await?;
            // Files that cannot be read may have been replaced since the snapshot.
            if !piece.missing.is_empty() && !self.needs_fresh_state {
                return Err(ReadError::Source(source, SourceError::Stale));
            }
            chunk.missing.ranges.extend(piece.missing);
            chunk.missing.ranges.extend(piece.lost);
            chunk.dead_letters.extend(piece.dead_letters);
            self.sources.count(source, piece.first.rows.len());
            if source == Source::Log {
                // The log still has the duplicates that the compactor dropped.
                chunk.checked = chunk.checked.min(range.lo - 1);
            }
            chunk.sources.extend(piece.contributors);
            if self.add(&mut chunk, piece.first, left) {
                return Ok(chunk);
            }
        }
        chunk.rows = merge(chunk.rows, Seq::MAX, self.request.order);
        Ok(chunk)
    }

    /// Adds the first rows of a piece; `true` when the chunk is full by that, `left` being its limit.
    fn add(&self, chunk: &mut Chunk, first: FirstRows, left: ReadLimit) -> bool {
        let is_full = first.rows.len() >= left.rows || first.is_cut;
        chunk.rows.extend(first.rows);
        if is_full {
            let rows = std::mem::take(&mut chunk.rows);
            chunk.rows = merge(rows, Seq::MAX, self.request.order);
            chunk.rows.truncate(self.limit.rows);
            chunk.reached = chunk.rows.last().map(|row| row.position.offset());
            self.forget_missing_behind(chunk);
        }
        is_full
    }

    /// Leaves what is missing behind the end of a full chunk to the next one.
    fn forget_missing_behind(&self, chunk: &mut Chunk) {
        let Some((seq, _)) = chunk.reached else {
            return;
        };
        let (lo, hi) = match self.request.order {
            ReadOrder::Asc => (1, seq),
            ReadOrder::Desc => (seq, Seq::MAX),
        };
        chunk.missing.ranges = chunk.missing.ranges.intersect(SeqRange { lo, hi });
    }
}
