//! The pieces of a plan: the rows of one range from the source that has it.

use std::collections::HashMap;

use event::{PartitionId, RangeSet, Seq, SeqRange};
use retention::Class;

use super::Attempt;
use crate::{
    merge::merge,
    plan::Source,
    read_limit::{FirstRows, ReadLimit},
    retry::ReadError,
    rows::SourceError,
};

/// The rows of a range from one source, or from two together.
pub(super) struct Piece {
    pub(super) first: FirstRows,
    /// The sources that had some of the rows.
    pub(super) contributors: Vec<Source>,
    /// Ranges of which rows may be missing, because a file of the cold tier cannot be read.
    pub(super) missing: RangeSet,
    /// Ranges that were lost before they were archived.
    pub(super) lost: RangeSet,
    /// Frames of the log that cannot be read.
    pub(super) dead_letters: RangeSet,
}

impl Attempt<'_> {
    /// Reads the first rows of `range` up to `limit`, none of which another piece has.
    pub(super) async fn read_piece(
        &mut self,
        source: Source,
        range: SeqRange,
        limit: ReadLimit,
    ) -> Result<Piece, ReadError> {
        let of = |source| move |error| ReadError::Source(source, error);
        let mut contributors = vec![source];
        let (mut missing, mut dead_letters) = (RangeSet::new(), RangeSet::new());
        let mut first = match source {
            Source::Hot => self.take_hot(range),
            Source::Log => {
                let read = self.sources.log_rows(self.request, range, limit).await;
                let read = read.map_err(of(Source::Log))?;
                let partition = self.request.partition;
                dead_letters = self.sources.undecided(partition, read.unreadable).await;
                FirstRows {
                    rows: read.rows,
                    is_cut: read.is_cut,
                }
            }
            Source::Warm => self.read_warm(range, limit).await.map_err(of(source))?,
            Source::Cold => {
                let read = self.read_cold(range, HashMap::new(), limit).await;
                let (first, unread) = read.map_err(of(source))?;
                missing = unread;
                first
            }
            Source::WarmAndCold => {
                let warm = self.read_warm(range, limit).await;
                let warm = warm.map_err(of(Source::Warm))?;
                let cold = self.read_cold(range, self.in_warm(range), limit).await;
                let (cold, unread) = cold.map_err(of(Source::Cold))?;
                missing = unread;
                contributors.clear();
                contributors.extend((!warm.rows.is_empty()).then_some(Source::Warm));
                contributors.extend((!cold.rows.is_empty()).then_some(Source::Cold));
                self.join(warm, cold)
            }
        };
        let lost = match source {
            Source::WarmAndCold | Source::Cold => self.lost().intersect(range),
            Source::Hot | Source::Log | Source::Warm => RangeSet::new(),
        };
        first.rows.retain(|row| range.contains(row.position.seq));
        first.cut(limit);
        contributors.retain(|_| !first.rows.is_empty());
        Ok(Piece {
            first,
            contributors,
            missing,
            lost,
            dead_letters,
        })
    }

    /// The ranges that were lost before they could be archived.
    fn lost(&self) -> RangeSet {
        let snapshot = self.snapshot.as_deref();
        snapshot
            .map(|snapshot| snapshot.events.lost(self.request.partition))
            .unwrap_or_default()
    }

    /// Takes the rows of `range` out of what was read from the hot tier.
    fn take_hot(&mut self, range: SeqRange) -> FirstRows {
        let mut first = FirstRows::default();
        if let Some(hot) = &mut self.hot {
            let own = hot
                .rows
                .extract_if(.., |row| range.contains(row.position.seq));
            first.rows = own.collect();
        }
        first
    }

    /// The first rows of both, as far as neither lacks some.
    fn join(&self, mut warm: FirstRows, mut cold: FirstRows) -> FirstRows {
        let order = self.request.order;
        let (warm_end, cold_end) = (warm.end(), cold.end());
        warm.cut_behind(cold_end, order);
        cold.cut_behind(warm_end, order);
        let mut rows = warm.rows;
        rows.extend(cold.rows);
        FirstRows {
            rows: merge(rows, Seq::MAX, order),
            is_cut: warm.is_cut || cold.is_cut,
        }
    }

    /// The parts of `range` that warm has, by retention class.
    fn in_warm(&self, range: SeqRange) -> HashMap<(PartitionId, Class), RangeSet> {
        let slices = self.coverage.iter().flat_map(|coverage| &coverage.slices);
        let mut in_warm: HashMap<_, RangeSet> = HashMap::new();
        for slice in slices {
            let of_class = in_warm
                .entry((self.request.partition, slice.class))
                .or_default();
            of_class.extend(slice.range().intersect(&range));
        }
        in_warm
    }

    pub(super) async fn read_warm(
        &self,
        range: SeqRange,
        limit: ReadLimit,
    ) -> Result<FirstRows, SourceError> {
        let coverage = self.coverage.as_ref().ok_or(SourceError::Stale)?;
        let readable = coverage.readable_range();
        let readable = readable.and_then(|readable| readable.intersect(&range));
        let Some(range) = readable else {
            return Ok(FirstRows::default());
        };
        let removals = Some(coverage.removals);
        self.sources
            .warm_rows(self.request, range, removals, limit)
            .await
    }

    async fn read_cold(
        &self,
        range: SeqRange,
        in_warm: HashMap<(PartitionId, Class), RangeSet>,
        limit: ReadLimit,
    ) -> Result<(FirstRows, RangeSet), SourceError> {
        let snapshot = self.snapshot.as_deref().ok_or(SourceError::Stale)?;
        self.sources
            .cold_rows(self.request, range, snapshot, in_warm, limit)
            .await
    }
}
