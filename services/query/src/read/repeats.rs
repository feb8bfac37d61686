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

/// Rows before the page that are compared with it while the compactor is away. A repeat of an older
/// one is then shown again.
const MAX_COMPARED: usize = 20_000;

impl Sources {
    /// Up to `limit` visible rows, none of which repeats another row of the conversation.
    ///
    /// What continues an earlier answer waits for the compactor's word. Where that does not come,
    /// the rows are compared with those before them.
    pub(crate) async fn read(&self, mut wanted: Wanted, limit: usize) -> Result<Page> {
        let mut settled = Settled::default();
        let mut page = self.page(wanted.clone(), limit, &settled).await?;
        let mut since = Some(page.checked);
        if let Some(newest) = newest_doubtful(&page, &wanted) {
            let checked = page.checked;
            settled = self.settle(wanted.partition, checked, newest).await;
            if settled.covers(checked, newest) {
                let end = (newest, u16::MAX);
                wanted.before = Some(wanted.before.map_or(end, |before| before.min(end)));
                page = self.page(wanted.clone(), limit, &settled).await?;
                page.last = page.last.map(|last| last.min(newest));
            } else {
                since = None;
            }
        }
        loop {
            self.drop_repeats(&mut page, &wanted, since).await?;
            let left = limit - page.rows.len();
            let Some(next) = page.next.filter(|_| left > 0 && page.dropped) else {
                return Ok(page);
            };
            match wanted.order {
                Order::Asc => wanted.after = Some(next.offset()),
                Order::Desc => wanted.before = Some(next.offset()),
            }
            let more = self.page(wanted.clone(), left, &settled).await?;
            page.continue_with(more, wanted.order);
        }
    }

    /// Compares what is unchecked with the rows before the page, behind `since`.
    async fn drop_repeats(
        &self,
        page: &mut Page,
        wanted: &Wanted,
        since: Option<Seq>,
    ) -> Result<()> {
        let checked = page.checked;
        let Some(first) = page.rows.iter().map(|row| row.position).min() else {
            return Ok(());
        };
        let newest = page.rows.iter().map(|row| row.position.seq).max();
        let all_before = since.is_none();
        if newest.is_none_or(|newest| newest <= checked) || first.seq <= checked && !all_before {
            return Ok(());
        }
        let before = self.identities(wanted, since, first).await?;
        let rows = page.rows.len();
        page.rows
            .retain(|row| row.position.seq <= checked || !before.contains(&row.event.event_id));
        page.dropped |= page.rows.len() < rows;
        Ok(())
    }

    /// The ids of the conversation's events behind `since` and before `first`, the nearest first.
    async fn identities(
        &self,
        wanted: &Wanted,
        since: Option<Seq>,
        first: Position,
    ) -> Result<HashSet<EventId>> {
        let mut earlier = Wanted {
            after: since.map(|since| (since, u16::MAX)),
            before: Some(first.offset()),
            order: Order::Desc,
            types: Types::default(),
            ..wanted.clone()
        };
        let mut ids = HashSet::new();
        while ids.len() < MAX_COMPARED {
            let span = self.span(&earlier, super::CHUNK).await?;
            ids.extend(span.rows.iter().map(|row| row.event.event_id));
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
        self.checked = self.checked.min(more.checked);
        let mut rows = std::mem::take(&mut self.rows);
        rows.extend(more.rows);
        self.rows = merge(rows, self.checked, order);
        self.next = more.next;
        self.missing.add(&more.missing);
        self.sources.extend(more.sources);
    }
}

/// The newest row that may repeat one outside of the page. The newest page of all is not held
/// up: it is the one that people watch.
fn newest_doubtful(page: &Page, wanted: &Wanted) -> Option<Seq> {
    if wanted.after.is_none() && wanted.before.is_none() {
        return None;
    }
    let newest = page
        .rows
        .iter()
        .map(|row: &StoredEvent| row.position.seq)
        .max();
    newest.filter(|newest| *newest > page.checked)
}
