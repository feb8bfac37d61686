//! The pieces of a plan: the rows of one range from the source that has it.

use std::collections::HashMap;

use event::{PartitionId, RangeSet, Seq, SeqRange, StoredEvent};
use retention::Class;

use super::Attempt;
use crate::{merge::merge, plan::Source, retry::ReadError, rows::SourceError};

/// The rows of a range from one source, or from two together.
pub(super) struct Piece {
    pub(super) rows: Vec<StoredEvent>,
    /// The sources that had some of the rows.
    pub(super) contributors: Vec<Source>,
    /// Ranges of which rows may be missing, because a file of the cold tier cannot be read, or because
    /// they were lost before they were archived.
    pub(super) missing: RangeSet,
    /// Frames of the log that cannot be read.
    pub(super) dead_letters: RangeSet,
}

impl Attempt<'_> {
    /// Reads up to `limit` rows of `range`, none of which another piece has.
    pub(super) async fn read_piece(
        &self,
        source: Source,
        range: SeqRange,
        limit: usize,
    ) -> Result<Piece, ReadError> {
        let of = |source| move |error| ReadError::Source(source, error);
        let mut contributors = vec![source];
        let (mut missing, mut dead_letters) = (RangeSet::new(), RangeSet::new());
        let warm = async || self.read_warm(range, limit).await.map_err(of(Source::Warm));
        let cold = async |in_warm| {
            let read = self.read_cold(range, in_warm, limit).await;
            read.map_err(of(Source::Cold))
        };
        let mut rows = match source {
            Source::Hot => self
                .hot
                .as_ref()
                .map(|hot| hot.rows.clone())
                .unwrap_or_default(),
            Source::Log => {
                let read = self.sources.log_rows(self.request, range).await;
                let read = read.map_err(of(Source::Log))?;
                dead_letters.extend(read.unreadable);
                read.rows
            }
            Source::Warm => warm().await?,
            Source::Cold => {
                let (rows, unread) = cold(HashMap::new()).await?;
                missing = unread;
                rows
            }
            Source::WarmAndCold => {
                let mut rows = warm().await?;
                let (old, unread) = cold(self.in_warm(range)).await?;
                missing = unread;
                contributors.clear();
                contributors.extend((!rows.is_empty()).then_some(Source::Warm));
                contributors.extend((!old.is_empty()).then_some(Source::Cold));
                rows.extend(old);
                merge(rows, Seq::MAX, self.request.order)
            }
        };
        if matches!(source, Source::WarmAndCold | Source::Cold) {
            missing.extend(self.lost().intersect(range));
        }
        rows.retain(|row| range.contains(row.position.seq));
        rows.truncate(limit);
        contributors.retain(|_| !rows.is_empty());
        Ok(Piece {
            rows,
            contributors,
            missing,
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
        limit: usize,
    ) -> Result<Vec<StoredEvent>, SourceError> {
        let coverage = self.coverage.as_ref().ok_or(SourceError::Stale)?;
        let sealed = coverage
            .sealed_range()
            .and_then(|sealed| sealed.intersect(&range));
        let Some(range) = sealed else {
            return Ok(Vec::new());
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
        limit: usize,
    ) -> Result<(Vec<StoredEvent>, RangeSet), SourceError> {
        let snapshot = self.snapshot.as_deref().ok_or(SourceError::Stale)?;
        self.sources
            .cold_rows(self.request, range, snapshot, in_warm, limit)
            .await
    }
}
