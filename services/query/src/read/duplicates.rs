//! A page whose newest rows the compactor has not checked yet: one of them may repeat an event
//! that is outside of the page, because its producer sent it again cut into other batches.

use std::collections::HashSet;

use event::{EventId, Position, Seq, StoredEvent};

use super::Page;
use crate::{
    dedup_wait::DedupState, error::Result, merge::Order, params::Types, rows::Wanted,
    sources::Sources,
};

/// Rows before the page that are compared with it: of the newest page, which waits for nobody, and
/// of any other while the compactor is away. A repeat of an older one is shown again.
const COMPARED_AT_ONCE: usize = 4_000;
const MAX_COMPARED: usize = 20_000;

impl Sources {
    /// Up to `limit` visible rows, none of which repeats another row of the conversation.
    pub(crate) async fn read(&self, mut wanted: Wanted, limit: usize) -> Result<Page> {
        let mut page = self.read_once(&wanted, limit).await?;
        // Duplicates were taken out, so there is room for more.
        while page.dropped
            && page.rows.len() < limit
            && let Some(next) = page.next
        {
            match wanted.order {
                Order::Asc => wanted.after = Some(next.offset()),
                Order::Desc => wanted.before = Some(next.offset()),
            }
            let more = self.read_once(&wanted, limit - page.rows.len()).await?;
            page.continue_with(more, wanted.order);
        }
        Ok(page)
    }

    /// What continues an earlier answer waits for the compactor's word. Where that does not come,
    /// and in the newest page, the rows are compared with those before them.
    async fn read_once(&self, wanted: &Wanted, limit: usize) -> Result<Page> {
        let mut page = self
            .page(wanted.clone(), limit, &DedupState::default())
            .await?;
        let Some(newest) = newest_unchecked(&page) else {
            return Ok(page);
        };
        // The newest page of all is not held up: it is the one that people watch.
        if wanted.after.is_none() && wanted.before.is_none() {
            self.drop_duplicates(&mut page, wanted, COMPARED_AT_ONCE)
                .await?;
            if page.unseen.is_empty() {
                return Ok(page);
            }
        }
        let checked = page.checked;
        let dedup = self.wait_for_dedup(wanted.partition, checked, newest).await;
        if dedup.covers(checked, newest) {
            page = self
                .page_through(newest, wanted, page, limit, &dedup)
                .await?;
        }
        self.drop_duplicates(&mut page, wanted, MAX_COMPARED)
            .await?;
        Ok(page)
    }

    /// Reads `page` again, up to `newest`, now that its repeats are known.
    async fn page_through(
        &self,
        newest: Seq,
        wanted: &Wanted,
        page: Page,
        limit: usize,
        dedup: &DedupState,
    ) -> Result<Page> {
        let end = (newest, u16::MAX);
        let bounded = Wanted {
            before: Some(wanted.before.map_or(end, |before| before.min(end))),
            ..wanted.clone()
        };
        let mut again = self.page(bounded, limit, dedup).await?;
        again.last = again.last.map(|last| last.min(newest));
        if wanted.order == Order::Asc && again.next.is_none() && page.next.is_some() {
            again.next = Some(Position::new(wanted.partition, end.0, end.1));
            again.dropped = true;
        }
        Ok(again)
    }

    /// Compares the unchecked rows of `page` with `count` rows before it.
    async fn drop_duplicates(&self, page: &mut Page, wanted: &Wanted, count: usize) -> Result<()> {
        let Some(first) = page.rows.iter().map(|row| row.position).min() else {
            return Ok(());
        };
        let has_all_before =
            wanted.order == Order::Desc && wanted.after.is_none() && page.next.is_none();
        if newest_unchecked(page).is_none() || has_all_before {
            return Ok(());
        }
        let before = self.identities(page, wanted, first, count).await?;
        let (rows, checked) = (page.rows.len(), page.checked);
        page.rows
            .retain(|row| row.position.seq <= checked || !before.contains(&row.event.event_id));
        page.dropped |= page.rows.len() < rows;
        Ok(())
    }

    /// The ids of `count` events of the conversation before `first`. What of them cannot be read
    /// now is noted in `page`.
    async fn identities(
        &self,
        page: &mut Page,
        wanted: &Wanted,
        first: Position,
        count: usize,
    ) -> Result<HashSet<EventId>> {
        let mut earlier = Wanted {
            after: None,
            before: Some(first.offset()),
            order: Order::Desc,
            types: Types::default(),
            ..wanted.clone()
        };
        let mut ids = HashSet::new();
        while ids.len() < count {
            let span = self.span(&earlier, super::CHUNK).await?;
            ids.extend(span.rows.iter().map(|row| row.event.event_id));
            page.unseen.extend(span.missing.ranges);
            let Some(reached) = span.reached else {
                break;
            };
            earlier.before = Some(reached);
        }
        Ok(ids)
    }
}

impl Page {
    fn continue_with(&mut self, more: Self, order: Order) {
        self.take(more.rows, more.checked, order);
        self.next = more.next;
        self.dropped = more.dropped;
        self.missing.add(&more.missing);
        self.unseen.extend(more.unseen);
        self.sources.extend(more.sources);
    }
}

/// The newest row that may repeat one outside of the page.
fn newest_unchecked(page: &Page) -> Option<Seq> {
    let rows = page.rows.iter();
    let newest = rows.map(|row: &StoredEvent| row.position.seq).max();
    newest.filter(|newest| *newest > page.checked)
}
