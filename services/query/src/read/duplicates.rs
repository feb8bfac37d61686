//! Duplicates in pages whose newest rows the compactor has not checked yet: such a row may be a
//! duplicate of an event outside of the page, which its producer sent again in another batch.

use std::collections::HashSet;

use event::{EventId, PartitionId, Position, Seq, StoredEvent};
use service_runtime::Reservation;

use super::Page;
use crate::{
    dedup_wait::DedupState,
    error::Result,
    memory::{MAX_ROW_BYTES, MEMORY_WAIT, row_bytes},
    merge::ReadOrder,
    params::TypeFilter,
    read_limit::ReadLimit,
    rows::ReadRequest,
    sources::Sources,
};

/// Rows before the newest page that are compared with it, without waiting for the compactor. A
/// duplicate of an older event is returned again.
const MAX_COMPARED_NEWEST_PAGE: usize = 4_000;
/// The same for any page while the compactor does not answer.
const MAX_COMPARED: usize = 20_000;
/// Bytes of rows before a page after which no more are compared with it; bounds the time that a page takes.
const MAX_COMPARED_BYTES: usize = 64 << 20;

/// A page with rows that the compactor has not checked, as it was read first.
struct UncheckedPage {
    /// Up to here no row was a duplicate.
    checked: Seq,
    newest: Seq,
    has_next: bool,
}

impl Sources {
    /// Reads visible rows up to `limit`, none of which is a duplicate of another event of the conversation. A
    /// page that is cut may have no row. `memory` is for what is read; while the compactor is waited for, it is
    /// only as much as the rows that are there already.
    ///
    /// # Errors
    ///
    /// The answer to the client: no source is readable, a row is damaged, or `overloaded`.
    pub(crate) async fn read(
        &self,
        mut request: ReadRequest,
        limit: ReadLimit,
        memory: &mut Reservation,
    ) -> Result<Page> {
        let mut page = self.read_once(&request, limit, memory, 0).await?;
        // Duplicates were dropped, so there is room for more rows.
        while page.has_dropped_duplicates
            && page.rows.len() < limit.rows
            && !page.is_cut
            && let Some(next) = page.next
        {
            match request.order {
                ReadOrder::Asc => request.after = Some(next.offset()),
                ReadOrder::Desc => request.before = Some(next.offset()),
            }
            let left = limit.behind(&page.rows);
            let more = self.read_once(&request, left, memory, page.bytes);
            let more = more.await?;
            page.append(more, request.order);
        }
        Ok(page)
    }

    /// Reads a page that may be shorter because duplicates were dropped. A page that continues an
    /// earlier answer waits for the compactor to report duplicates. If it does not, and in the newest
    /// page, the rows are compared with those before them.
    /// `kept` are the bytes of the rows that are there already.
    async fn read_once(
        &self,
        request: &ReadRequest,
        limit: ReadLimit,
        memory: &mut Reservation,
        kept: usize,
    ) -> Result<Page> {
        let mut page = self
            .page(request.clone(), limit, &DedupState::default())
            .await?;
        let Some(newest) = newest_unchecked(&page) else {
            return Ok(page);
        };
        // The newest page does not wait: it is the one that people watch.
        if request.after.is_none() && request.before.is_none() {
            self.drop_duplicates(&mut page, request, MAX_COMPARED_NEWEST_PAGE)
                .await?;
            if page.not_compared.is_empty() {
                return Ok(page);
            }
        }
        let first = UncheckedPage {
            checked: page.checked,
            newest,
            has_next: page.next.is_some(),
        };
        drop(page);
        let dedup = self
            .wait_without_memory(request.partition, &first, memory, kept)
            .await?;
        let mut page = self.read_again(&first, request, limit, &dedup).await?;
        self.drop_duplicates(&mut page, request, MAX_COMPARED)
            .await?;
        Ok(page)
    }

    /// Waits until the duplicates of `page` are known. All of `memory` but `kept` bytes is given back
    /// meanwhile, so that others can use it however many wait.
    async fn wait_without_memory(
        &self,
        partition: PartitionId,
        page: &UncheckedPage,
        memory: &mut Reservation,
        kept: usize,
    ) -> Result<DedupState> {
        let needed = memory.bytes();
        memory.shrink_to(kept);
        let dedup = self
            .wait_for_dedup(partition, page.checked, page.newest)
            .await;
        memory.grow_to(needed, MEMORY_WAIT).await?;
        Ok(dedup)
    }

    /// Reads a page again: up to the end of the `first` one if its duplicates are known now.
    async fn read_again(
        &self,
        first: &UncheckedPage,
        request: &ReadRequest,
        limit: ReadLimit,
        dedup: &DedupState,
    ) -> Result<Page> {
        if !dedup.covers(first.checked, first.newest) {
            let unknown = DedupState::default();
            return self.page(request.clone(), limit, &unknown).await;
        }
        let end = (first.newest, u16::MAX);
        let bounded = ReadRequest {
            before: Some(request.before.map_or(end, |before| before.min(end))),
            ..request.clone()
        };
        let mut again = self.page(bounded, limit, dedup).await?;
        again.log_last = again.log_last.map(|last| last.min(first.newest));
        if request.order == ReadOrder::Asc && again.next.is_none() && first.has_next {
            again.next = Some(Position::new(request.partition, end.0, end.1));
            again.has_dropped_duplicates = true;
        }
        Ok(again)
    }

    /// Drops the unchecked rows of `page` that are duplicates of one of the `count` rows before it.
    async fn drop_duplicates(
        &self,
        page: &mut Page,
        request: &ReadRequest,
        count: usize,
    ) -> Result<()> {
        let Some(first) = page.rows.iter().map(|row| row.position).min() else {
            return Ok(());
        };
        let has_all_before =
            request.order == ReadOrder::Desc && request.after.is_none() && page.next.is_none();
        if newest_unchecked(page).is_none() || has_all_before {
            return Ok(());
        }
        let earlier_ids = self.earlier_ids(page, request, first, count).await?;
        let (rows, checked) = (page.rows.len(), page.checked);
        page.rows.retain(|row| {
            row.position.seq <= checked || !earlier_ids.contains(&row.event.event_id)
        });
        page.has_dropped_duplicates |= page.rows.len() < rows;
        Ok(())
    }

    /// Reads the ids of `count` events of the conversation before `first`. Ranges that cannot be read
    /// now are added to `page.not_compared`.
    async fn earlier_ids(
        &self,
        page: &mut Page,
        request: &ReadRequest,
        first: Position,
        count: usize,
    ) -> Result<HashSet<EventId>> {
        let mut earlier = ReadRequest {
            after: None,
            before: Some(first.offset()),
            order: ReadOrder::Desc,
            types: TypeFilter::default(),
            ..request.clone()
        };
        let limit = ReadLimit {
            rows: super::CHUNK_ROWS,
            bytes: MAX_ROW_BYTES,
        };
        let (mut ids, mut bytes, mut duplicate_chunks) = (HashSet::new(), 0, 0);
        while ids.len() < count
            && bytes < MAX_COMPARED_BYTES
            && duplicate_chunks < super::MAX_DUPLICATE_CHUNKS
        {
            let chunk = self.read_chunk(&earlier, limit).await?;
            bytes += chunk.rows.iter().map(row_bytes).sum::<usize>();
            ids.extend(chunk.rows.iter().map(|row| row.event.event_id));
            duplicate_chunks += usize::from(chunk.met_duplicates);
            page.not_compared.extend(chunk.missing.ranges);
            let Some(reached) = chunk.reached else {
                break;
            };
            earlier.before = Some(reached);
        }
        Ok(ids)
    }
}

impl Page {
    /// Appends the page that continues this one.
    fn append(&mut self, more: Self, order: ReadOrder) {
        // Nothing of it fitted: the next page begins where it began.
        if !(more.is_cut && more.rows.is_empty()) {
            self.next = more.next;
        }
        self.is_cut = more.is_cut;
        self.bytes += more.bytes;
        self.add_rows(more.rows, more.checked, order);
        self.has_dropped_duplicates = more.has_dropped_duplicates;
        self.missing.add(&more.missing);
        self.dead_letters.extend(more.dead_letters);
        self.not_compared.extend(more.not_compared);
        self.sources.extend(more.sources);
    }
}

/// Returns the newest sequence whose rows may be duplicates of events outside of the page.
fn newest_unchecked(page: &Page) -> Option<Seq> {
    let rows = page.rows.iter();
    let newest = rows.map(|row: &StoredEvent| row.position.seq).max();
    newest.filter(|newest| *newest > page.checked)
}
