//! Reads of one conversation: rows, and the range in which they are complete. One round trip per page,
//! and one more if the conversation has duplicates.

mod commands;

use std::{collections::HashSet, time::Duration};

use event::{ConversationId, PartitionId, Seq, StoredEvent, TenantId};
use event_proto::PackedEvent;
use redis::{AsyncCommands as _, Value, aio::ConnectionManager};

use self::commands::add_entry_commands;
use crate::{
    connection,
    cursor::{Fields, HotCursor, from_score},
    entry::parse_entries,
    error::Result,
    key::{Keys, id, member},
    page::{Bounds, CompleteRange, Duplicates, Order, ReadRequest, RowCollector},
};

/// Short, because a query can read the same events from the log.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Most entries of the first page. Few, because most conversations have several events in each entry.
const FIRST_PAGE_ENTRIES: usize = 32;
/// Most entries of a later page. No reason for the number but to bound memory.
const MAX_PAGE_ENTRIES: usize = 1024;
/// The same while the conversation has duplicates: the tier is asked about each event of a page.
const MAX_PAGE_ENTRIES_WITH_DUPLICATES: usize = 32;
/// A read ends when it has passed over so many duplicates, whatever rows it has: bounds what a
/// producer that repeats itself can make a read cost.
const MAX_PASSED_OVER: usize = 16_384;

/// Rows of one conversation, in the requested order.
#[derive(Clone, Debug, PartialEq)]
pub struct HotRead {
    pub rows: Vec<StoredEvent>,
    /// The first sequence from which the tier has everything of the conversation.
    pub floor: Seq,
    /// The last sequence up to which the tier has everything of the conversation.
    pub last: Seq,
    /// The sequence up to which no row is a duplicate.
    pub checked: Seq,
    /// Where to read on, exclusive, if the read ended early because it met too many duplicates.
    pub reached: Option<(Seq, u16)>,
}

/// A client that reads from the hot tier. Cheap to clone.
#[derive(Clone)]
pub struct HotReader {
    pub(crate) connection: ConnectionManager,
}

impl std::fmt::Debug for HotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotReader").finish_non_exhaustive()
    }
}

/// The result of one round trip.
struct Page {
    range: CompleteRange,
    /// `None` if the conversation has none.
    duplicates: Option<Duplicates>,
    /// The events of each entry.
    entries: Vec<Vec<PackedEvent>>,
    /// It has as many entries as were requested: there may be more behind it.
    full: bool,
}

impl HotReader {
    /// Creates a client for the server at `url`. The connection is opened by the first call.
    ///
    /// # Errors
    /// [`Error::Setup`](crate::Error::Setup) when `url` is not valid.
    pub async fn connect(url: &str) -> Result<Self> {
        let connection = connection::connect(url, READ_TIMEOUT)?;
        Ok(Self { connection })
    }

    /// Checks that the server answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) while it does not: retry.
    pub async fn ping(&self) -> Result<()> {
        let mut connection = self.connection.clone();
        redis::cmd("PING").exec_async(&mut connection).await?;
        Ok(())
    }

    /// Reads up to `limit` rows of a conversation within `bounds`, without known duplicates. Returns
    /// `None` when the tier has no cursor for the partition (it was lost, or nothing was written yet).
    /// When there are fewer rows than `limit`, they are all that the tier has within the bounds, or
    /// [`HotRead::reached`] says where to read on.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) is transient: retry, or read from the log.
    /// [`Error::Damaged`](crate::Error::Damaged) is permanent: read from another tier.
    pub async fn read(
        &self,
        partition: PartitionId,
        tenant: &TenantId,
        conversation: &ConversationId,
        bounds: Bounds,
        order: Order,
        limit: usize,
    ) -> Result<Option<HotRead>> {
        let request = ReadRequest {
            partition,
            tenant,
            conversation,
            bounds,
            order,
            limit,
        };
        loop {
            match self.read_once(&request).await? {
                ReadAttempt::Complete(read) => return Ok(Some(read)),
                ReadAttempt::NoCursor => return Ok(None),
                // Trims are seconds apart, so this loop ends.
                ReadAttempt::FloorRaised => {}
            }
        }
    }

    /// Returns those of `offsets`, all of one conversation, that are known to be duplicates.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) is transient: retry.
    pub async fn duplicates(
        &self,
        partition: PartitionId,
        tenant: &TenantId,
        conversation: &ConversationId,
        offsets: &[(Seq, u16)],
    ) -> Result<HashSet<(Seq, u16)>> {
        let key = Keys::of(partition).duplicates(&member(tenant, conversation));
        let ids: Vec<String> = offsets.iter().map(|offset| id(*offset)).collect();
        let known: Vec<bool> = self.connection.clone().smismember(&key, &ids).await?;
        let duplicates = offsets.iter().zip(known).filter(|(_, known)| *known);
        Ok(duplicates.map(|(offset, _)| *offset).collect())
    }

    async fn read_once(&self, request: &ReadRequest<'_>) -> Result<ReadAttempt> {
        let member = member(request.tenant, request.conversation);
        let key = Keys::of(request.partition).packs(&member);
        let mut count = request.limit.clamp(1, FIRST_PAGE_ENTRIES);
        let Some(page) = self.page(request, &member, None, count).await? else {
            return Ok(ReadAttempt::NoCursor);
        };
        let range = page.range;
        let mut collector = RowCollector::new(request, range, &key);
        let (mut page, mut entries_read, mut reached) = (page, 0, None);
        loop {
            entries_read += page.entries.len();
            let last = page.entries.last().and_then(|events| events.last());
            let behind = last.map(|event| (event.seq, event.idx));
            let read_up_to = page.last_offset(request.order);
            let duplicates = page.duplicates.unwrap_or_default();
            for events in page.entries {
                collector.add(events, &duplicates)?;
            }
            if collector.done || !page.full {
                break;
            }
            if collector.passed_over >= MAX_PASSED_OVER {
                reached = read_up_to;
                break;
            }
            let rows_per_entry = (collector.rows.len() / entries_read.max(1)).max(1);
            let most = match duplicates.is_empty() {
                true => MAX_PAGE_ENTRIES,
                false => MAX_PAGE_ENTRIES_WITH_DUPLICATES,
            };
            count = (collector.remaining() / rows_per_entry + 1).clamp(1, most);
            let next = self.page(request, &member, behind, count).await?;
            let Some(next) = next.filter(|next| next.range.floor == range.floor) else {
                return Ok(ReadAttempt::FloorRaised);
            };
            page = next;
        }
        Ok(ReadAttempt::Complete(HotRead {
            rows: collector.rows,
            floor: range.floor,
            last: range.cursor.last,
            checked: range.cursor.checked,
            reached,
        }))
    }

    /// Reads the next `count` entries behind the entry `behind`, with the cursor and the floor, in one
    /// transaction; then which of their events are duplicates, if the conversation has any. `None`
    /// without a cursor.
    async fn page(
        &self,
        request: &ReadRequest<'_>,
        member: &str,
        behind: Option<(Seq, u16)>,
        count: usize,
    ) -> Result<Option<Page>> {
        let keys = Keys::of(request.partition);
        let (cursor_key, key) = (keys.cursor(), keys.packs(member));
        let mut pipe = redis::pipe();
        pipe.atomic().hgetall(&cursor_key);
        pipe.zscore(keys.floors(), member);
        pipe.exists(keys.duplicates(member));
        add_entry_commands(&mut pipe, &key, request, behind, count);
        let (fields, own_floor, has_duplicates, straddling, entries): (
            Fields,
            Option<f64>,
            bool,
            Value,
            Value,
        ) = pipe.query_async(&mut self.connection.clone()).await?;
        let Some(cursor) = HotCursor::parse(&cursor_key, &fields)? else {
            return Ok(None);
        };
        if cursor.epoch != request.partition.epoch {
            return Ok(None);
        }
        let page_entries = parse_entries(&key, entries)?;
        let full = page_entries.len() == count;
        let mut entries = parse_entries(&key, straddling)?;
        entries.extend(page_entries);
        let entries = entries.into_iter().map(|entry| entry.events(&key));
        let entries = entries.collect::<Result<Vec<_>>>()?;
        let floor = own_floor.map_or(0, from_score).max(cursor.floor);
        let mut page = Page {
            range: CompleteRange { cursor, floor },
            duplicates: None,
            entries,
            full,
        };
        if has_duplicates {
            self.read_duplicates(&mut page, keys, member).await?;
        }
        Ok(Some(page))
    }

    /// Asks which events of `page` are duplicates. Takes the floor again, because a trim in between
    /// removes the marks of what it trims: the caller then reads again.
    async fn read_duplicates(&self, page: &mut Page, keys: Keys, member: &str) -> Result<()> {
        let events = page.entries.iter().flatten();
        let offsets: Vec<_> = events.map(|event| (event.seq, event.idx)).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = offsets.iter().map(|offset| id(*offset)).collect();
        let mut pipe = redis::pipe();
        pipe.atomic();
        pipe.smismember(keys.duplicates(member), &ids);
        pipe.hget(keys.cursor(), "floor");
        pipe.zscore(keys.floors(), member);
        let (known, floor, own_floor): (Vec<bool>, Option<Seq>, Option<f64>) =
            pipe.query_async(&mut self.connection.clone()).await?;
        let floor = floor.unwrap_or(Seq::MAX);
        page.range.floor = own_floor.map_or(0, from_score).max(floor);
        let known = offsets.into_iter().zip(known).filter(|(_, known)| *known);
        page.duplicates = Some(known.map(|(offset, _)| offset).collect());
        Ok(())
    }
}

impl Page {
    /// The offset up to which, in `order`, the page has everything.
    fn last_offset(&self, order: Order) -> Option<(Seq, u16)> {
        let events = self.entries.last()?;
        let last = match order {
            Order::Ascending => events.last(),
            Order::Descending => events.first(),
        };
        last.map(|event| (event.seq, event.idx))
    }
}

/// The result of one attempt to read all pages of a request.
enum ReadAttempt {
    Complete(HotRead),
    NoCursor,
    /// The floor was raised between two pages, so they do not form one range: read again.
    FloorRaised,
}
