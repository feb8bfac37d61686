//! Reading one conversation: rows, and up to where they are all there is, in one round trip.

use std::{collections::HashSet, time::Duration};

use event::{ConversationId, PartitionId, Seq, StoredEvent, TenantId};
use redis::{AsyncCommands as _, Pipeline, Value, aio::ConnectionManager};

use crate::{
    connection,
    cursor::{Fields, HotCursor, from_score},
    entry::{Entry, parse_entries},
    error::Result,
    key::{Keys, id, member},
    page::{Bounds, Dropped, Frontier, Order, Rows, Wanted, parse_dropped},
};

/// A query has other places to look; it does not wait for long.
const LIMIT: Duration = Duration::from_secs(2);
/// Entries of the first page. Most conversations have several events in each.
const FIRST_PAGE: usize = 32;
const MAX_PAGE: usize = 1024;

/// Rows of one conversation, in the order asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct HotRead {
    pub rows: Vec<StoredEvent>,
    /// The tier has everything of the conversation from here ...
    pub floor: Seq,
    /// ... to here.
    pub last: Seq,
    /// Up to here no row is a duplicate.
    pub checked: Seq,
}

/// The reading side. Cheap to clone.
#[derive(Clone)]
pub struct HotReader {
    pub(crate) connection: ConnectionManager,
}

impl std::fmt::Debug for HotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotReader").finish_non_exhaustive()
    }
}

/// What one round trip gave.
struct Page {
    frontier: Frontier,
    dropped: Dropped,
    entries: Vec<Entry>,
    /// There may be more behind it.
    full: bool,
}

impl HotReader {
    /// Does not wait for the server: the first call does.
    pub async fn connect(url: &str) -> Result<Self> {
        let connection = connection::connect(url, LIMIT)?;
        Ok(Self { connection })
    }

    /// Whether the server answers.
    pub async fn ping(&self) -> Result<()> {
        let mut connection = self.connection.clone();
        redis::cmd("PING").exec_async(&mut connection).await?;
        Ok(())
    }

    /// Up to `limit` rows of a conversation within `bounds`, without those that are known to be
    /// duplicates; `None` when the tier knows nothing of the partition (it was lost, or nothing
    /// was written yet). Fewer rows than `limit` are all that the tier has within the bounds.
    pub async fn read(
        &self,
        partition: PartitionId,
        tenant: &TenantId,
        conversation: &ConversationId,
        bounds: Bounds,
        order: Order,
        limit: usize,
    ) -> Result<Option<HotRead>> {
        let wanted = Wanted {
            partition,
            tenant,
            conversation,
            bounds,
            order,
            limit,
        };
        loop {
            match self.read_once(&wanted).await? {
                Outcome::Read(read) => return Ok(Some(read)),
                Outcome::NoCursor => return Ok(None),
                // Trims are seconds apart, so this does not go on.
                Outcome::Moved => {}
            }
        }
    }

    /// Which of `places`, all of one conversation, are known to be duplicates.
    pub async fn duplicates(
        &self,
        partition: PartitionId,
        tenant: &TenantId,
        conversation: &ConversationId,
        places: &[(Seq, u16)],
    ) -> Result<HashSet<(Seq, u16)>> {
        let key = Keys::of(partition).dropped(&member(tenant, conversation));
        let ids: Vec<String> = places.iter().map(|place| id(*place)).collect();
        let known: Vec<bool> = self.connection.clone().smismember(&key, &ids).await?;
        let of_known = places.iter().zip(known).filter(|(_, known)| *known);
        Ok(of_known.map(|(place, _)| *place).collect())
    }

    async fn read_once(&self, wanted: &Wanted<'_>) -> Result<Outcome> {
        let member = member(wanted.tenant, wanted.conversation);
        let key = Keys::of(wanted.partition).packs(&member);
        let mut count = wanted.limit.clamp(1, FIRST_PAGE);
        let Some(page) = self.page(wanted, &member, None, count).await? else {
            return Ok(Outcome::NoCursor);
        };
        let frontier = page.frontier;
        let mut rows = Rows::new(wanted, frontier, &key);
        let mut page = Some(page);
        let mut seen = 0;
        while let Some(Page {
            dropped,
            entries,
            full,
            ..
        }) = page.take()
        {
            seen += entries.len();
            let edge = entries.last().map(|entry| entry.id);
            for entry in entries {
                rows.take(entry, &dropped)?;
            }
            if rows.done || !full {
                break;
            }
            let per_entry = (rows.rows.len() / seen.max(1)).max(1);
            count = (rows.missing() / per_entry + 1).clamp(1, MAX_PAGE);
            let next = self.page(wanted, &member, edge, count).await?;
            let Some(next) = next.filter(|next| next.frontier.floor == frontier.floor) else {
                return Ok(Outcome::Moved);
            };
            page = Some(next);
        }
        Ok(Outcome::Read(HotRead {
            rows: rows.rows,
            floor: frontier.floor,
            last: frontier.cursor.last,
            checked: frontier.cursor.checked,
        }))
    }

    /// The next `count` entries behind `edge`, with what is needed to judge them, in one
    /// transaction.
    async fn page(
        &self,
        wanted: &Wanted<'_>,
        member: &str,
        edge: Option<(Seq, u16)>,
        count: usize,
    ) -> Result<Option<Page>> {
        let keys = Keys::of(wanted.partition);
        let (cursor_key, key) = (keys.cursor(), keys.packs(member));
        let mut pipe = redis::pipe();
        pipe.atomic().hgetall(&cursor_key);
        pipe.zscore(keys.floors(), member);
        pipe.smembers(keys.dropped(member));
        ask_entries(&mut pipe, &key, wanted, edge, count);
        let (fields, own_floor, dropped, across, entries): (
            Fields,
            Option<f64>,
            Vec<String>,
            Value,
            Value,
        ) = pipe.query_async(&mut self.connection.clone()).await?;
        let Some(cursor) = HotCursor::parse(&cursor_key, &fields)? else {
            return Ok(None);
        };
        if cursor.epoch != wanted.partition.epoch {
            return Ok(None);
        }
        let behind = parse_entries(&key, entries)?;
        let full = behind.len() == count;
        let mut entries = parse_entries(&key, across)?;
        entries.extend(behind);
        let floor = own_floor.map_or(0, from_score).max(cursor.floor);
        Ok(Some(Page {
            frontier: Frontier { cursor, floor },
            dropped: parse_dropped(&dropped),
            entries,
            full,
        }))
    }
}

enum Outcome {
    Read(HotRead),
    NoCursor,
    /// The floor rose between two pages: what was read does not fit together.
    Moved,
}

/// Two questions: the entry that lies across the upper bound (of a descending read), and the page.
fn ask_entries(
    pipe: &mut Pipeline,
    key: &str,
    wanted: &Wanted<'_>,
    edge: Option<(Seq, u16)>,
    count: usize,
) {
    let exclusive = |place: (Seq, u16)| format!("({}", id(place));
    match wanted.order {
        Order::Ascending => {
            let from = edge
                .or(wanted.bounds.after)
                .map_or("-".to_owned(), exclusive);
            pipe.xrange_count(key, "+", "-", 1);
            pipe.xrange_count(key, from, "+", count);
        }
        Order::Descending => {
            let before = wanted.bounds.before;
            let across = before.filter(|_| edge.is_none());
            let across = across.map_or(("+".to_owned(), "-"), |place| (id(place), "+"));
            pipe.xrange_count(key, across.0, across.1, 1);
            // Nothing lies before the first id of all, and a server refuses to be asked for it; no
            // entry has that id itself.
            let below = |place| match place {
                (0, 0) => id(place),
                place => exclusive(place),
            };
            let from = edge.or(before).map_or("+".to_owned(), below);
            pipe.xrevrange_count(key, from, "-", count);
        }
    }
}
