//! One conversation, read across the tiers: the same path for a page and for a tail.
//!
//! A read asks memory and the log first, plans, reads piece after piece from the wanted end and
//! stops when it has enough. A piece whose source has changed or does not answer makes the read
//! plan again; a source that fails for good is left out, and what only it had is reported.

mod attempt;
mod duplicates;

use std::collections::BTreeSet;

use event::{Position, RangeSet, Seq, StoredEvent, Timestamp};

use self::attempt::Attempt;
use crate::{
    dedup_wait::DedupState,
    error::Result,
    merge::{Order, merge},
    plan::Source,
    retention_filter,
    retry::RetryState,
    rows::Wanted,
    sources::Sources,
};

/// Rows asked for at once: what lies in memory of large events.
const CHUNK: usize = 1000;
/// Rows looked at for one page when few of them match.
const MAX_LOOKED_AT: usize = 100_000;
/// Content of one page; more is another page.
const MAX_PAGE_BYTES: usize = 32 << 20;

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
    /// Up to here no row repeats another one, in this page or outside of it.
    checked: Seq,
    /// What could not be read when unchecked rows had to be compared with it: they may repeat
    /// events of it.
    unseen: RangeSet,
    /// Whether repeats were taken out, so that there may be fewer rows than were wanted.
    dropped: bool,
}

impl Page {
    /// Adds rows that were read when repeats were known up to `checked`: a row that was unchecked
    /// when it was read stays so, whatever is known by now.
    fn take(&mut self, more: Vec<StoredEvent>, checked: Seq, order: Order) {
        self.checked = self.checked.min(checked);
        let mut rows = std::mem::take(&mut self.rows);
        rows.extend(more);
        self.rows = merge(rows, self.checked, order);
    }

    /// What nobody had, be it to give it or to compare with it.
    pub(crate) fn gaps(&self) -> Missing {
        let mut gaps = self.missing.clone();
        gaps.add(&Missing {
            ranges: self.unseen.clone(),
            from: None,
        });
        gaps
    }
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
        self.ranges.extend(other.ranges.clone());
        self.from = self.from.or(other.from);
    }
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
    /// Up to `limit` visible rows that are in this page alone; those that are known to repeat
    /// others are left out.
    async fn page(&self, mut wanted: Wanted, limit: usize, dedup: &DedupState) -> Result<Page> {
        let (rules, now) = (self.rules(), Timestamp::now());
        let hides = retention_filter::anything_ends(&rules);
        let selective = hides || !wanted.types.is_all() || dedup.word.is_some();
        let mut page = Page {
            checked: Seq::MAX,
            ..Page::default()
        };
        let (mut looked_at, mut bytes) = (0, 0);
        loop {
            let missing = limit - page.rows.len();
            let ask = if selective { CHUNK } else { missing.min(CHUNK) };
            let span = self.span(&wanted, ask).await?;
            looked_at += span.rows.len();
            page.missing.add(&span.missing);
            page.sources.extend(&span.sources);
            page.last = page.last.or(span.last);
            let checked = dedup.checked(span.checked);
            let visible = span.rows.into_iter().filter(|row| {
                wanted.types.matches(row.event.event_type.as_str())
                    && !dedup.is_duplicate(&row.position)
                    && (!hides || retention_filter::is_visible(&rules, row, now))
            });
            let visible: Vec<_> = visible.collect();
            let size = |row: &StoredEvent| row.event.content.len() + row.event.metadata.len();
            bytes += visible.iter().map(size).sum::<usize>();
            page.take(visible, checked, wanted.order);
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
        let mut retry = RetryState::default();
        loop {
            let attempt = Attempt::start(self, wanted, limit, &retry).await;
            match attempt.run().await {
                Ok(span) => return Ok(span),
                Err(stop) => retry.after(stop).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests;
