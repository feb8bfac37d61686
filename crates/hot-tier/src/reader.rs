//! Reads of one conversation: rows, and the range in which they are complete. One round trip per page,
//! and one more if the conversation has duplicates.

mod commands;
mod round_trip;

use std::{collections::HashSet, sync::Arc, time::Duration};

use event::{ConversationId, PartitionId, Seq, StoredEvent, TenantId};
use redis::{Cmd, FromRedisValue, Pipeline, aio::ConnectionManager};

use crate::{
    connection,
    cursor::{Fields, HotCursor},
    entry::Entry,
    error::Result,
    key::{Keys, id, member},
    page::{Bounds, CompleteRange, Order, ReadRequest, RowCollector},
    stall::StallGuard,
};

/// Short, because a query can read the same events from the log.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Most entries of the first page. Few, because most conversations have several events in each entry.
const FIRST_PAGE_ENTRIES: usize = 32;
/// Most entries of a later page; an entry has up to 256 KiB. No reason for the number but to bound memory.
const MAX_PAGE_ENTRIES: usize = 64;
/// The same while the conversation has duplicates: the tier is asked about each event of a page.
const MAX_PAGE_ENTRIES_WITH_DUPLICATES: usize = 32;
/// The same for a conversation without duplicates that takes no more memory than so many of the largest entries.
const MAX_PAGE_ENTRIES_OF_SMALL: usize = 1024;
/// Memory of a conversation whose entries are small, in bytes: [`MAX_PAGE_ENTRIES`] of the largest.
const SMALL_CONVERSATION_BYTES: u64 = (MAX_PAGE_ENTRIES as u64) << 18;
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
    /// Where to read on, exclusive, if the read ended early: because of the bytes of the bounds, or because
    /// it met too many duplicates.
    pub reached: Option<(Seq, u16)>,
    /// Whether the read ended early because it met too many duplicates.
    pub met_duplicates: bool,
}

/// A client that reads from the hot tier. Cheap to clone. When the server has not answered a call in time, all
/// calls fail at once for some seconds, and then one tries again.
#[derive(Clone)]
pub struct HotReader {
    connection: ConnectionManager,
    stall: Arc<StallGuard>,
}

impl std::fmt::Debug for HotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotReader").finish_non_exhaustive()
    }
}

impl HotReader {
    /// Creates a client for the server at `url`. The connection is opened by the first call.
    ///
    /// # Errors
    /// [`Error::Setup`](crate::Error::Setup) when `url` is not valid.
    pub async fn connect(url: &str) -> Result<Self> {
        let connection = connection::connect(url, READ_TIMEOUT)?;
        Ok(Self {
            connection,
            stall: Arc::default(),
        })
    }

    /// Checks that the server answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) while it does not: retry.
    pub async fn ping(&self) -> Result<()> {
        self.call(&redis::cmd("PING")).await
    }

    /// Reads the partition's cursor; `None` when the tier has none for this epoch.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) is transient: retry.
    /// [`Error::Damaged`](crate::Error::Damaged) when a field is not a number.
    pub async fn cursor(&self, partition: PartitionId) -> Result<Option<HotCursor>> {
        let key = Keys::of(partition).cursor();
        let fields: Fields = self.call(&Cmd::hgetall(&key)).await?;
        let cursor = HotCursor::parse(&key, &fields)?;
        Ok(cursor.filter(|cursor| cursor.epoch == partition.epoch))
    }

    /// Sends one `command` and waits for its reply.
    pub(crate) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let mut connection = self.connection.clone();
        let reply = command.query_async(&mut connection);
        self.stall.within(reply).await
    }

    /// Sends `commands` and waits for their replies.
    pub(crate) async fn query<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T> {
        let mut connection = self.connection.clone();
        let replies = commands.query_async(&mut connection);
        self.stall.within(replies).await
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
                // Trims and losses are seconds apart, so this loop ends.
                ReadAttempt::Changed => {}
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
        let known: Vec<bool> = self.call(&Cmd::smismember(&key, &ids)).await?;
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
        let (cursor, floor) = (page.cursor, page.floor);
        let is_small = page.stored_bytes <= SMALL_CONVERSATION_BYTES;
        let range = CompleteRange {
            floor,
            last: cursor.last,
        };
        let mut collector = RowCollector::new(request, range, &key);
        let (mut page, mut entries_read, mut reached) = (page, 0, None);
        loop {
            entries_read += page.entries.len();
            let last = page.entries.last().cloned();
            let duplicates = page.duplicates.take().unwrap_or_default();
            for entry in page.entries {
                if !collector.done {
                    collector.add(entry.events(&key)?, &duplicates)?;
                }
            }
            if collector.done || !page.full {
                break;
            }
            if collector.passed_over >= MAX_PASSED_OVER {
                reached = match last {
                    Some(last) => last_offset(&last, request.order, &key)?,
                    None => None,
                };
                break;
            }
            let rows_per_entry = (collector.rows.len() / entries_read.max(1)).max(1);
            let most = match duplicates.is_empty() {
                true if is_small => MAX_PAGE_ENTRIES_OF_SMALL,
                true => MAX_PAGE_ENTRIES,
                false => MAX_PAGE_ENTRIES_WITH_DUPLICATES,
            };
            count = (collector.remaining() / rows_per_entry + 1).clamp(1, most);
            let next = self
                .page(request, &member, last.map(|last| last.id()), count)
                .await?;
            let Some(next) = next.filter(|next| next.continues(&cursor, floor)) else {
                return Ok(ReadAttempt::Changed);
            };
            page = next;
        }
        let last_row = collector.rows.last().map(|row| row.position.offset());
        Ok(ReadAttempt::Complete(HotRead {
            met_duplicates: reached.is_some(),
            reached: reached.or(last_row.filter(|_| collector.is_cut)),
            rows: collector.rows,
            floor,
            last: cursor.last,
            checked: cursor.checked,
        }))
    }
}

/// The offset up to which, in `order`, a page that ends with `last` has everything.
fn last_offset(last: &Entry, order: Order, key: &str) -> Result<Option<(Seq, u16)>> {
    if order == Order::Ascending {
        return Ok(Some(last.id()));
    }
    let events = last.events(key)?;
    Ok(events.first().map(|event| (event.seq, event.idx)))
}

/// The result of one attempt to read all pages of a request.
enum ReadAttempt {
    Complete(HotRead),
    NoCursor,
    /// The tier was trimmed or lost between two pages, so they do not form one range: read again.
    Changed,
}
