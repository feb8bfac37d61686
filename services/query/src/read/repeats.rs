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
    sources::Sources,
};

/// Rows before the page that are compared with it. The compactor was away for long when there are
/// more, and then a repeat of an older one is shown again.
const MAX_COMPARED: usize = 20_000;

impl Sources {
    /// Up to `limit` visible rows, none of which repeats another row of the conversation.
    ///
    /// What continues an earlier answer waits for the compactor's word. Where that does not come,
    /// the rows are compared with the unchecked ones before them.
    pub(crate) async fn read(&self, mut wanted: Wanted, limit: usize) -> Result<Page> {
        let mut page = self.page(wanted.clone(), limit).await?;
        if let Some(newest) = newest_doubtful(&page, &wanted)
            && self.settle(wanted.partition, newest).await
        {
            let end = (newest, u16::MAX);
            wanted.before = Some(wanted.before.map_or(end, |before| before.min(end)));
            page = self.page(wanted.clone(), limit).await?;
            page.last = page.last.map(|last| last.min(newest));
        }
        loop {
            self.drop_repeats(&mut page, &wanted).await?;
            let left = limit - page.rows.len();
            let Some(next) = page.next.filter(|_| left > 0 && page.dropped) else {
                return Ok(page);
            };
            match wanted.order {
                Order::Asc => wanted.after = Some(next.offset()),
                Order::Desc => wanted.before = Some(next.offset()),
            }
            let more = self.page(wanted.clone(), left).await?;
            page.continue_with(more, wanted.order);
        }
    }

    /// Compares what is unchecked with the unchecked rows before the page.
    async fn drop_repeats(&self, page: &mut Page, wanted: &Wanted) -> Result<()> {
        let checked = page.checked;
        let Some(first) = page.rows.iter().map(|row| row.position).min() else {
            return Ok(());
        };
        let newest = page.rows.iter().map(|row| row.position.seq).max();
        if first.seq <= checked || newest.is_none_or(|newest| newest <= checked) {
            return Ok(());
        }
        let before = self.identities(wanted, checked, first).await?;
        let rows = page.rows.len();
        page.rows
            .retain(|row| row.position.seq <= checked || !before.contains(&row.event.event_id));
        page.dropped |= page.rows.len() < rows;
        Ok(())
    }

    /// The ids of the conversation's events behind `checked` and before `first`.
    async fn identities(
        &self,
        wanted: &Wanted,
        checked: Seq,
        first: Position,
    ) -> Result<HashSet<EventId>> {
        let mut earlier = Wanted {
            after: Some((checked, u16::MAX)),
            before: Some(first.offset()),
            order: Order::Asc,
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
            earlier.after = Some(reached);
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
