//! One conversation, read across the tiers: the same path for a page and for a tail.
//!
//! A read asks memory and the log first, plans, reads piece after piece from the wanted end and
//! stops when it has enough. A piece whose source has changed or does not answer makes the read
//! plan again; a source that fails for good is left out, and what only it had is reported.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cold_tier::ColdSnapshot;
use event::{PartitionId, Position, RangeSet, Seq, SeqRange, StoredEvent, Timestamp};
use hot_tier::{Bounds, HotRead};
use warm_tier::remote::PartitionCoverage;

use crate::{
    cold::committed,
    error::{Problem, Result},
    hide,
    merge::{Order, merge},
    plan::{Known, Prefer, Source, plan},
    rows::{Failed, Wanted},
    sources::{Sources, log_range, needs_cold, warm_of},
};

/// Rows asked for at once: what lies in memory of large events.
const CHUNK: usize = 1000;
/// Rows looked at for one page when few of them match.
const MAX_LOOKED_AT: usize = 100_000;
/// Content of one page; more is another page.
const MAX_PAGE_BYTES: usize = 32 << 20;
/// Sequences of the log read at once.
const LOG_CHUNK: Seq = 4096;
/// How often a read plans with a source that fails.
const PATIENCE: u32 = 3;
const PAUSE: Duration = Duration::from_millis(25);

/// An answer, or a part of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) rows: Vec<StoredEvent>,
    /// Where the next page begins; `None` when there is no more.
    pub(crate) next: Option<Position>,
    pub(crate) missing: Missing,
    pub(crate) sources: BTreeSet<Source>,
    /// The last sequence of the log when it was read; `None` when the log did not say.
    pub(crate) last: Option<Seq>,
}

/// What nobody had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) ranges: RangeSet,
    /// The log did not say how far it is: from here on anything may be missing.
    pub(crate) from: Option<Seq>,
}

impl Missing {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.from.is_none()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        other
            .ranges
            .ranges()
            .iter()
            .for_each(|range| self.ranges.insert(*range));
        self.from = self.from.or(other.from);
    }
}

/// Which sources to do without.
#[derive(Clone, Copy, Debug, Default)]
struct Without {
    hot: bool,
    log: bool,
    warm: bool,
    cold: bool,
}

/// What one plan gave.
#[derive(Debug, Default)]
struct Span {
    rows: Vec<StoredEvent>,
    /// Read up to here; `None` is all that was wanted.
    reached: Option<(Seq, u16)>,
    missing: Missing,
    sources: BTreeSet<Source>,
    checked: Seq,
    last: Option<Seq>,
}

impl Sources {
    /// Up to `limit` visible rows.
    pub(crate) async fn read(&self, mut wanted: Wanted, limit: usize) -> Result<Page> {
        let (rules, now) = (self.rules(), Timestamp::now());
        let hides = hide::anything_ends(&rules);
        let selective = hides || !wanted.types.is_all();
        let mut page = Page::default();
        let (mut looked_at, mut bytes) = (0, 0);
        loop {
            let missing = limit - page.rows.len();
            let ask = if selective { CHUNK } else { missing.min(CHUNK) };
            let span = self.span(&wanted, ask).await?;
            looked_at += span.rows.len();
            page.missing.add(&span.missing);
            page.sources.extend(&span.sources);
            page.last = page.last.or(span.last);
            let visible = span.rows.into_iter().filter(|row| {
                wanted.types.matches(row.event.event_type.as_str())
                    && (!hides || hide::is_visible(&rules, row, now))
            });
            for row in visible {
                bytes += row.event.content.len() + row.event.metadata.len();
                page.rows.push(row);
            }
            page.rows = merge(page.rows, span.checked, wanted.order);
            let cut = page.rows.len() > limit;
            page.rows.truncate(limit);
            page.next = match (cut || page.rows.len() == limit, span.reached) {
                (true, _) => page.rows.last().map(|row| row.position),
                (false, reached) => {
                    reached.map(|(seq, idx)| Position::new(wanted.partition, seq, idx))
                }
            };
            let Some((seq, idx)) = span.reached.filter(|_| page.rows.len() < limit) else {
                return Ok(page);
            };
            if looked_at >= MAX_LOOKED_AT || bytes >= MAX_PAGE_BYTES {
                return Ok(page);
            }
            match wanted.order {
                Order::Asc => wanted.after = Some((seq, idx)),
                Order::Desc => wanted.before = Some((seq, idx)),
            }
        }
    }

    async fn span(&self, wanted: &Wanted, limit: usize) -> Result<Span> {
        let mut without = Without::default();
        for attempt in 0.. {
            let (source, error) = match self.try_span(wanted, limit, attempt > 0, without).await {
                Ok(span) => return Ok(span),
                Err(Stop::Problem(problem)) => return Err(problem),
                Err(Stop::Failed(source, error)) => (source, error),
            };
            if attempt + 1 >= PATIENCE {
                if let Failed::Down(error) = error {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        source = source.tier(),
                        "left out"
                    );
                }
                match source {
                    Source::Hot => without.hot = true,
                    Source::Log => without.log = true,
                    Source::Warm => without.warm = true,
                    Source::WarmAndCold | Source::Cold => without.cold = true,
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        unreachable!("every source is left out sooner or later")
    }

    async fn try_span(
        &self,
        wanted: &Wanted,
        limit: usize,
        fresh: bool,
        without: Without,
    ) -> Result<Span, Stop> {
        let bounds = Bounds {
            after: wanted.after,
            before: wanted.before,
        };
        let (hot, log) = tokio::join!(
            self.hot_rows(wanted, bounds, limit, without.hot),
            self.log_state(wanted.partition, without.log),
        );
        let mut known = Known {
            hot: hot
                .as_ref()
                .and_then(|hot| SeqRange::new(hot.floor, hot.last)),
            log: log.and_then(|(first, last)| log_range(first, last)),
            ..Known::default()
        };
        let log_last = log.map(|(_, last)| last);
        let mut span = Span {
            last: log_last,
            checked: hot.as_ref().map_or(0, |hot| hot.checked),
            ..Span::default()
        };
        let hot_last = hot.as_ref().map(|hot| hot.last);
        let range = |last: Seq| {
            let hi = wanted.before.map_or(last, |(seq, _)| seq.min(last));
            SeqRange::new(wanted.after.map_or(1, |(seq, _)| seq.max(1)), hi)
        };
        // Fast: what is older than memory is not wanted, or memory has as much as is wanted.
        let full = hot.as_ref().is_some_and(|hot| hot.rows.len() >= limit);
        let enough = full && wanted.order == Order::Desc;
        let from = wanted.after.map_or(1, |(seq, _)| seq);
        let old = if known.hot.is_some_and(|hot| enough || from >= hot.lo) {
            Old::default()
        } else {
            let last = log_last.max(hot_last).unwrap_or(Seq::MAX);
            self.old(wanted, range(last), fresh, without, &mut known)
                .await?
        };
        let last = log_last.max(hot_last).or_else(|| {
            let warm = old.coverage.as_ref().map(|coverage| coverage.sealed);
            warm.max(known.cold)
        });
        let Some(last) = last else {
            let detail = "neither the log nor any tier answers now";
            return Err(Stop::Problem(Problem::unavailable(
                "nothing_readable",
                detail,
            )));
        };
        if log_last.is_none() && wanted.before.is_none_or(|(seq, _)| seq > last) {
            span.missing.from = Some(last + 1);
        }
        if let Some(coverage) = &old.coverage
            && hot.is_none()
        {
            span.checked = coverage.sealed;
        }
        let Some(all) = range(last) else {
            return Ok(span);
        };
        let reading = Reading {
            sources: self,
            wanted,
            limit,
            hot,
            old,
        };
        reading.pieces(all, &known, span).await
    }

    async fn hot_rows(
        &self,
        wanted: &Wanted,
        bounds: Bounds,
        limit: usize,
        without: bool,
    ) -> Option<HotRead> {
        if without {
            return None;
        }
        let order = match wanted.order {
            Order::Asc => hot_tier::Order::Ascending,
            Order::Desc => hot_tier::Order::Descending,
        };
        let read = self.hot.read(
            wanted.partition,
            &wanted.tenant,
            &wanted.conversation,
            bounds,
            order,
            limit,
        );
        match read.await {
            Ok(read) => read,
            Err(error) if error.is_transient() => None,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "hot tier not read"
                );
                None
            }
        }
    }

    pub(crate) async fn log_state(
        &self,
        partition: PartitionId,
        without: bool,
    ) -> Option<(Seq, Seq)> {
        if without {
            return None;
        }
        match self.log.state(partition).await {
            Ok(state) => Some((state.first, state.last)),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "no log state");
                None
            }
        }
    }

    /// What warm and, where it is needed, cold have.
    async fn old(
        &self,
        wanted: &Wanted,
        range: Option<SeqRange>,
        fresh: bool,
        without: Without,
        known: &mut Known,
    ) -> Result<Old, Stop> {
        let Some(range) = range else {
            return Ok(Old::default());
        };
        let mut old = Old::default();
        if !without.warm {
            old.coverage = self.warm_partition(wanted.partition, fresh).await;
            known.warm = old.coverage.as_ref().map(warm_of);
        }
        let planned = plan(range, known, Prefer::Hot);
        let gone = known
            .warm
            .as_ref()
            .map(|warm| needs_cold(warm, range))
            .unwrap_or_default();
        if !without.cold && (!gone.is_empty() || !planned.holes.is_empty()) {
            let need = gone.ranges().last().map_or(0, |range| range.hi);
            old.snapshot = self.cold.snapshot(wanted.partition, need).await;
            let snapshot = old.snapshot.as_deref();
            known.cold = snapshot.map(|snapshot| committed(snapshot, wanted.partition));
        }
        // What is missing may only have moved since the coverage was read.
        if !fresh && !plan(range, known, Prefer::Hot).holes.is_empty() {
            return Err(Stop::Failed(Source::Warm, Failed::Stale));
        }
        Ok(old)
    }
}

/// Why a plan gave nothing.
enum Stop {
    Problem(Problem),
    Failed(Source, Failed),
}

#[derive(Default)]
struct Old {
    coverage: Option<PartitionCoverage>,
    snapshot: Option<Arc<ColdSnapshot>>,
}

/// One plan being carried out.
struct Reading<'a> {
    sources: &'a Sources,
    wanted: &'a Wanted,
    limit: usize,
    hot: Option<HotRead>,
    old: Old,
}

impl Reading<'_> {
    async fn pieces(self, all: SeqRange, known: &Known, mut span: Span) -> Result<Span, Stop> {
        for (range, source) in segments(all, known, self.wanted.order) {
            let left = self.limit - span.rows.len();
            let Some(source) = source else {
                span.missing.ranges.insert(range);
                // Of a lost part warm may still have other classes.
                let rest = self.warm(range, left).await.unwrap_or_default();
                span.rows.extend(rest);
                continue;
            };
            let rows = self.piece(source, range, left).await?;
            self.sources.count(source, rows.len());
            span.sources.insert(source);
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

    /// Up to `limit` rows of `range`, and no row that another piece may have.
    async fn piece(
        &self,
        source: Source,
        range: SeqRange,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, Stop> {
        let failed = |source| move |failed| Stop::Failed(source, failed);
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
                let mut rows = warm().await?;
                rows.extend(cold().await?);
                merge(rows, Seq::MAX, self.wanted.order)
            }
        };
        rows.retain(|row| range.contains(row.position.seq));
        rows.truncate(limit);
        Ok(rows)
    }

    async fn warm(&self, range: SeqRange, limit: usize) -> Result<Vec<StoredEvent>, Failed> {
        let coverage = self.old.coverage.as_ref().ok_or(Failed::Stale)?;
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
        let snapshot = self.old.snapshot.as_deref().ok_or(Failed::Stale)?;
        self.sources
            .cold_rows(self.wanted, range, snapshot, limit)
            .await
    }
}

/// The pieces of the plan and its holes, one range after the other, the wanted end first.
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
    segments.extend(plan.holes.ranges().iter().map(|range| (*range, None)));
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
