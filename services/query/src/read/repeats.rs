//! A page whose newest rows the compactor has not checked yet: one of them may repeat an event
//! that is outside of the page, because its producer sent it again cut into other batches.

use std::collections::HashSet;

use event::{EventId, Position, Seq, StoredEvent};

use super::Page;
use crate::{
    error::Result,
    merge::{Order, merge},
    params::Types,
    rows::Wanted,
    settling::Settled,
    sources::Sources,
};

/// Rows before the page that are compared with it: of the newest page, which waits for nobody, and
/// of any other while the compactor is away. A repeat of an older one is shown again.
const COMPARED_AT_ONCE: usize = 4_000;
const MAX_COMPARED: usize = 20_000;

impl Sources {
    /// Up to `limit` visible rows, none of which repeats another row of the conversation.
    ///
    /// What continues an earlier answer waits for the compactor's word. Where that does not come,
    /// and in the newest page, the rows are compared with those before them.
    pub(crate) async fn read(&self, mut wanted: Wanted, limit: usize) -> Result<Page> {
        let mut settled = Settled::default();
        let mut page = self.page(wanted.clone(), limit, &settled).await?;
        let Some(newest) = newest_unchecked(&page) else {
            return Ok(page);
        };
        // The newest page of all is not held up: it is the one that people watch.
        if wanted.after.is_none() && wanted.before.is_none() {
            let compare = Compare {
                wanted: wanted.clone(),
                limit,
                settled: &settled,
                with: COMPARED_AT_ONCE,
            };
            page = self.compared(page, compare).await?;
            if page.unseen.is_empty() {
                return Ok(page);
            }
        }
        let checked = page.checked;
        settled = self.settle(wanted.partition, checked, newest).await;
        if settled.covers(checked, newest) {
            let end = (newest, u16::MAX);
            wanted.before = Some(wanted.before.map_or(end, |before| before.min(end)));
            page = self.page(wanted.clone(), limit, &settled).await?;
            page.last = page.last.map(|last| last.min(newest));
        }
        let compare = Compare {
            wanted,
            limit,
            settled: &settled,
            with: MAX_COMPARED,
        };
        self.compared(page, compare).await
    }

    /// `page` without the rows that repeat one before it, filled up again.
    async fn compared(&self, mut page: Page, mut compare: Compare<'_>) -> Result<Page> {
        loop {
            self.drop_repeats(&mut page, &compare).await?;
            let left = compare.limit - page.rows.len();
            let Some(next) = page.next.filter(|_| left > 0 && page.dropped) else {
                return Ok(page);
            };
            let wanted = &mut compare.wanted;
            match wanted.order {
                Order::Asc => wanted.after = Some(next.offset()),
                Order::Desc => wanted.before = Some(next.offset()),
            }
            let more = self.page(wanted.clone(), left, compare.settled).await?;
            page.continue_with(more, wanted.order);
        }
    }

    async fn drop_repeats(&self, page: &mut Page, compare: &Compare<'_>) -> Result<()> {
        let Some(first) = page.rows.iter().map(|row| row.position).min() else {
            return Ok(());
        };
        let wanted = &compare.wanted;
        let has_all_before =
            wanted.order == Order::Desc && wanted.after.is_none() && page.next.is_none();
        if newest_unchecked(page).is_none() || has_all_before {
            return Ok(());
        }
        let before = self.identities(page, compare, first).await?;
        let (rows, checked) = (page.rows.len(), page.checked);
        page.rows
            .retain(|row| row.position.seq <= checked || !before.contains(&row.event.event_id));
        page.dropped |= page.rows.len() < rows;
        Ok(())
    }

    /// The ids of the conversation's events before `first`, the nearest. What of them cannot be
    /// read now is noted in `page`.
    async fn identities(
        &self,
        page: &mut Page,
        compare: &Compare<'_>,
        first: Position,
    ) -> Result<HashSet<EventId>> {
        let mut earlier = Wanted {
            after: None,
            before: Some(first.offset()),
            order: Order::Desc,
            types: Types::default(),
            ..compare.wanted.clone()
        };
        let mut ids = HashSet::new();
        while ids.len() < compare.with {
            let span = self.span(&earlier, super::CHUNK).await?;
            ids.extend(span.rows.iter().map(|row| row.event.event_id));
            let unseen = span.missing.ranges.ranges();
            unseen.iter().for_each(|range| page.unseen.insert(*range));
            let Some(reached) = span.reached else {
                break;
            };
            earlier.before = Some(reached);
        }
        Ok(ids)
    }
}

/// What the unchecked rows of a page are compared with.
struct Compare<'a> {
    /// The page's own bounds; what is left of them after it was filled up.
    wanted: Wanted,
    limit: usize,
    settled: &'a Settled,
    /// Rows before the page.
    with: usize,
}

impl Page {
    fn continue_with(&mut self, more: Self, order: Order) {
        self.checked = self.checked.min(more.checked);
        let mut rows = std::mem::take(&mut self.rows);
        rows.extend(more.rows);
        self.rows = merge(rows, self.checked, order);
        self.next = more.next;
        self.missing.add(&more.missing);
        let unseen = more.unseen.ranges();
        unseen.iter().for_each(|range| self.unseen.insert(*range));
        self.sources.extend(more.sources);
    }
}

/// The newest row that may repeat one outside of the page.
fn newest_unchecked(page: &Page) -> Option<Seq> {
    let rows = page.rows.iter();
    let newest = rows.map(|row: &StoredEvent| row.position.seq).max();
    newest.filter(|newest| *newest > page.checked)
}
