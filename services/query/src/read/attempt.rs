//! One try to read one conversation: ask memory and the log, plan, read piece after piece from the
//! wanted end, stop when there is enough.

use std::sync::Arc;

use cold_tier::ColdSnapshot;
use event::{Seq, SeqRange, StoredEvent};
use hot_tier::{Bounds, HotRead};
use warm_tier::remote::PartitionCoverage;

use super::Span;
use crate::{
    cold::committed,
    error::Problem,
    merge::{Order, merge},
    plan::{Known, Prefer, Source, plan},
    retry::{ExcludedSources, ReadError, RetryState},
    rows::{Failed, Wanted},
    sources::{Sources, log_range, warm_of},
};

/// Sequences of the log read at once.
const LOG_CHUNK: Seq = 4096;

/// What one try knows.
pub(super) struct Attempt<'a> {
    sources: &'a Sources,
    wanted: &'a Wanted,
    limit: usize,
    /// Whether what was known before this try must not be used again.
    fresh: bool,
    excluded: ExcludedSources,
    hot: Option<HotRead>,
    /// The last sequence of the log.
    log_last: Option<Seq>,
    coverage: Option<PartitionCoverage>,
    snapshot: Option<Arc<ColdSnapshot>>,
    known: Known,
}

impl<'a> Attempt<'a> {
    /// Asks memory and the log.
    pub(super) async fn start(
        sources: &'a Sources,
        wanted: &'a Wanted,
        limit: usize,
        retry: &RetryState,
    ) -> Self {
        let excluded = retry.excluded;
        let (hot, log) = tokio::join!(
            hot_rows(sources, wanted, limit, excluded.hot),
            sources.log_state(wanted.partition, excluded.log),
        );
        let known = Known {
            hot: hot
                .as_ref()
                .and_then(|hot| SeqRange::new(hot.floor, hot.last)),
            log: log.and_then(|(first, last)| log_range(first, last)),
            ..Known::default()
        };
        Self {
            sources,
            wanted,
            limit,
            fresh: retry.fresh(),
            excluded,
            hot,
            log_last: log.map(|(_, last)| last),
            coverage: None,
            snapshot: None,
            known,
        }
    }

    pub(super) async fn run(mut self) -> Result<Span, ReadError> {
        let hot_last = self.hot.as_ref().map(|hot| hot.last);
        let newest = self.log_last.max(hot_last);
        if !self.memory_is_enough() {
            self.look_further(newest.unwrap_or(Seq::MAX)).await?;
        }
        let sealed = self.coverage.as_ref().map(|coverage| coverage.sealed);
        let Some(last) = newest.or_else(|| sealed.max(self.known.cold)) else {
            let detail = "neither the log nor any tier answers now";
            return Err(Problem::unavailable("nothing_readable", detail).into());
        };
        let mut span = Span {
            last: self.log_last,
            checked: match &self.hot {
                Some(hot) => hot.checked.min(hot.last),
                None => sealed.unwrap_or(0),
            },
            ..Span::default()
        };
        let reaches_on = self.wanted.before.is_none_or(|(seq, _)| seq > last);
        if self.log_last.is_none() && reaches_on {
            span.missing.from = Some(last + 1);
        }
        match self.range(last) {
            Some(all) => self.pieces(all, span).await,
            None => Ok(span),
        }
    }

    /// The wanted sequences up to `last`.
    fn range(&self, last: Seq) -> Option<SeqRange> {
        let lo = self.wanted.after.map_or(1, |(seq, _)| seq.max(1));
        let hi = self.wanted.before.map_or(last, |(seq, _)| seq.min(last));
        SeqRange::new(lo, hi)
    }

    /// What is older than memory is not wanted, or memory has as much as is wanted.
    fn memory_is_enough(&self) -> bool {
        let Some((hot, range)) = self.hot.as_ref().zip(self.known.hot) else {
            return false;
        };
        let full = hot.rows.len() >= self.limit && self.wanted.order == Order::Desc;
        full || self.wanted.after.map_or(1, |(seq, _)| seq) >= range.lo
    }

    /// Asks warm and, where it is needed, cold.
    async fn look_further(&mut self, last: Seq) -> Result<(), ReadError> {
        let Some(range) = self.range(last) else {
            return Ok(());
        };
        let partition = self.wanted.partition;
        if !self.excluded.warm {
            self.coverage = self.sources.warm_partition(partition, self.fresh).await;
            self.known.warm = self.coverage.as_ref().map(warm_of);
        }
        let planned = plan(range, &self.known, Prefer::Hot);
        let gone = self.known.warm.as_ref();
        let gone = gone
            .map(|warm| warm.gone.intersect(range))
            .unwrap_or_default();
        let misses = !gone.is_empty() || !planned.gaps.is_empty();
        if misses && !self.excluded.cold {
            let need = gone.ranges().last().map_or(0, |range| range.hi);
            self.snapshot = self
                .sources
                .cold
                .snapshot(partition, need, self.fresh)
                .await;
            let snapshot = self.snapshot.as_deref();
            self.known.cold = snapshot.map(|snapshot| committed(snapshot, partition));
        }
        // What is missing may only have moved since the coverage was read.
        let gaps = plan(range, &self.known, Prefer::Hot).gaps;
        if !self.fresh && !gaps.is_empty() {
            return Err(ReadError::Failed(Source::Warm, Failed::Stale));
        }
        Ok(())
    }

    async fn pieces(self, all: SeqRange, mut span: Span) -> Result<Span, ReadError> {
        for (range, source) in segments(all, &self.known, self.wanted.order) {
            let left = self.limit - span.rows.len();
            let Some(source) = source else {
                span.missing.ranges.insert(range);
                // Of a lost part warm may still have other classes.
                let rest = self.warm(range, left).await.unwrap_or_default();
                span.rows.extend(rest);
                continue;
            };
            let (rows, gave) = self.piece(source, range, left).await?;
            self.sources.count(source, rows.len());
            if source == Source::Log {
                // The log has what was found to be a repeat, too.
                span.checked = span.checked.min(range.lo - 1);
            }
            span.sources.extend(gave);
            let full = rows.len() >= left;
            span.rows.extend(rows);
            if full {
                span.rows = merge(span.rows, Seq::MAX, self.wanted.order);
                span.rows.truncate(self.limit);
                span.reached = span.rows.last().map(|row| row.position.offset());
                return Ok(span);
            }
        }
        span.rows = merge(span.rows, Seq::MAX, self.wanted.order);
        Ok(span)
    }

    /// Up to `limit` rows of `range`, no row that another piece may have, and which sources gave
    /// some.
    async fn piece(
        &self,
        source: Source,
        range: SeqRange,
        limit: usize,
    ) -> Result<(Vec<StoredEvent>, Vec<Source>), ReadError> {
        let failed = |source| move |failed| ReadError::Failed(source, failed);
        let mut gave = vec![source];
        let warm = async || self.warm(range, limit).await.map_err(failed(Source::Warm));
        let cold = async || self.cold(range, limit).await.map_err(failed(Source::Cold));
        let mut rows = match source {
            Source::Hot => self
                .hot
                .as_ref()
                .map(|hot| hot.rows.clone())
                .unwrap_or_default(),
            Source::Log => {
                let rows = self.sources.log_rows(self.wanted, range).await;
                rows.map_err(failed(Source::Log))?
            }
            Source::Warm => warm().await?,
            Source::Cold => cold().await?,
            Source::WarmAndCold => {
                let (mut rows, old) = (warm().await?, cold().await?);
                gave.clear();
                gave.extend((!rows.is_empty()).then_some(Source::Warm));
                gave.extend((!old.is_empty()).then_some(Source::Cold));
                rows.extend(old);
                merge(rows, Seq::MAX, self.wanted.order)
            }
        };
        rows.retain(|row| range.contains(row.position.seq));
        rows.truncate(limit);
        gave.retain(|_| !rows.is_empty());
        Ok((rows, gave))
    }

    async fn warm(&self, range: SeqRange, limit: usize) -> Result<Vec<StoredEvent>, Failed> {
        let coverage = self.coverage.as_ref().ok_or(Failed::Stale)?;
        let sealed = coverage
            .sealed_range()
            .and_then(|sealed| sealed.intersect(&range));
        let Some(range) = sealed else {
            return Ok(Vec::new());
        };
        let removals = Some(coverage.removals);
        self.sources
            .warm_rows(self.wanted, range, removals, limit)
            .await
    }

    async fn cold(&self, range: SeqRange, limit: usize) -> Result<Vec<StoredEvent>, Failed> {
        let snapshot = self.snapshot.as_deref().ok_or(Failed::Stale)?;
        self.sources
            .cold_rows(self.wanted, range, snapshot, limit)
            .await
    }
}

async fn hot_rows(
    sources: &Sources,
    wanted: &Wanted,
    limit: usize,
    excluded: bool,
) -> Option<HotRead> {
    if excluded {
        return None;
    }
    let bounds = Bounds {
        after: wanted.after,
        before: wanted.before,
    };
    let order = match wanted.order {
        Order::Asc => hot_tier::Order::Ascending,
        Order::Desc => hot_tier::Order::Descending,
    };
    let (partition, tenant, conversation) =
        (wanted.partition, &wanted.tenant, &wanted.conversation);
    let read = sources
        .hot
        .read(partition, tenant, conversation, bounds, order, limit);
    match read.await {
        Ok(read) => read,
        Err(error) => {
            // What cannot be reached is no news for every read; the checks tell.
            if !error.is_transient() {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "hot tier not read"
                );
            }
            None
        }
    }
}

/// The pieces of the plan and its gaps, one range after the other, the wanted end first.
fn segments(all: SeqRange, known: &Known, order: Order) -> Vec<(SeqRange, Option<Source>)> {
    let plan = plan(all, known, Prefer::Hot);
    let mut segments = Vec::new();
    for piece in &plan.pieces {
        for range in piece.ranges.ranges() {
            match piece.source {
                Source::Log => {
                    segments.extend(chunks(*range).map(|part| (part, Some(Source::Log))))
                }
                source => segments.push((*range, Some(source))),
            }
        }
    }
    segments.extend(plan.gaps.ranges().iter().map(|range| (*range, None)));
    segments.sort_by_key(|(range, _)| range.lo);
    if order == Order::Desc {
        segments.reverse();
    }
    segments
}

fn chunks(range: SeqRange) -> impl Iterator<Item = SeqRange> {
    let step = usize::try_from(LOG_CHUNK).expect("a small number");
    (range.lo..=range.hi).step_by(step).map(move |lo| SeqRange {
        lo,
        hi: range.hi.min(lo.saturating_add(LOG_CHUNK - 1)),
    })
}
