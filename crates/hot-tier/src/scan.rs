//! Reads of a whole partition, for SQL and rollups.

use std::collections::HashMap;

use event::{ConversationId, PartitionId, Seq, StoredEvent, TenantId};
use redis::{AsyncCommands as _, Value};

use crate::{
    cursor::{Fields, HotCursor, from_score},
    entry::{Entry, parse_entries},
    error::{Error, Result},
    key::{Keys, parse_member},
    page::{Bounds, CompleteRange, Duplicates, Order, ReadRequest, RowCollector, parse_duplicates},
    reader::HotReader,
};

/// Conversations read in one round trip. No reason for the number but to bound the size of a reply.
const CONVERSATIONS_PER_ROUND_TRIP: usize = 256;

/// Rows of every conversation of a partition, in the order of the log: everything from `floor` to
/// `last`, except for the conversations in `raised`.
#[derive(Clone, Debug, PartialEq)]
pub struct HotScan {
    pub rows: Vec<StoredEvent>,
    /// The first sequence of the range.
    pub floor: Seq,
    /// The last sequence of the range.
    pub last: Seq,
    /// The sequence up to which no row is a duplicate.
    pub checked: Seq,
    /// The conversations that are complete only from a higher floor of their own.
    pub raised: Vec<(TenantId, ConversationId, Seq)>,
}

/// The entries of one conversation, and its duplicates.
struct ConversationEntries {
    member: String,
    entries: Vec<Entry>,
    duplicates: Duplicates,
}

impl HotReader {
    /// Lists the conversations of a partition that have events in the tier.
    ///
    /// # Errors
    /// [`Error::Unavailable`] is transient: retry.
    pub async fn conversations(
        &self,
        partition: PartitionId,
    ) -> Result<Vec<(TenantId, ConversationId)>> {
        let heads = Keys::of(partition).heads();
        let members: Vec<String> = self.connection.clone().zrange(heads, 0, -1).await?;
        Ok(members
            .iter()
            .filter_map(|text| parse_member(text))
            .collect())
    }

    /// Reads every row behind the sequence `after`; `None` when the tier has no cursor for the
    /// partition.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the packs have more than `max_bytes` bytes. [`Error::Unavailable`] is
    /// transient: retry. [`Error::Damaged`] is permanent: read from another tier.
    pub async fn read_all(
        &self,
        partition: PartitionId,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Option<HotScan>> {
        let keys = Keys::of(partition);
        // The cursor before the rows and the floors after them: whatever is written or trimmed
        // meanwhile, the rows between the two are complete.
        let Some(cursor) = self.cursor(partition).await? else {
            return Ok(None);
        };
        let conversations = self.entries_behind(keys, after, max_bytes).await?;
        let Some((floor, raised)) = self.floors(partition, after).await? else {
            return Ok(None);
        };
        let mut rows = Vec::new();
        for conversation in conversations {
            let own_floor = raised.get(&conversation.member).copied();
            let own_floor = own_floor.unwrap_or(floor).max(floor);
            let range = CompleteRange {
                cursor,
                floor: own_floor.max(after.saturating_add(1)),
            };
            rows.extend(decode(partition, range, conversation)?);
        }
        rows.sort_unstable_by_key(|row| row.position);
        let raised = raised.into_iter().filter_map(|(member, floor)| {
            let (tenant, conversation) = parse_member(&member)?;
            Some((tenant, conversation, floor))
        });
        Ok(Some(HotScan {
            rows,
            floor: floor.max(after.saturating_add(1)),
            last: cursor.last,
            checked: cursor.checked,
            raised: raised.collect(),
        }))
    }

    /// Reads the partition's cursor; `None` when the tier has none for this epoch.
    ///
    /// # Errors
    /// [`Error::Unavailable`] is transient: retry. [`Error::Damaged`] when a field is not a number.
    pub async fn cursor(&self, partition: PartitionId) -> Result<Option<HotCursor>> {
        let key = Keys::of(partition).cursor();
        let fields: Fields = self.connection.clone().hgetall(&key).await?;
        let cursor = HotCursor::parse(&key, &fields)?;
        Ok(cursor.filter(|cursor| cursor.epoch == partition.epoch))
    }

    /// Reads the partition's floor, and the conversations' own floors that are above it and `after`.
    async fn floors(
        &self,
        partition: PartitionId,
        after: Seq,
    ) -> Result<Option<(Seq, HashMap<String, Seq>)>> {
        let keys = Keys::of(partition);
        let key = keys.cursor();
        let mut pipe = redis::pipe();
        pipe.atomic().hgetall(&key);
        pipe.zrangebyscore_withscores(
            keys.floors(),
            format!("({}", after.saturating_add(1)),
            "+inf",
        );
        let (fields, floors): (Fields, Vec<(String, f64)>) =
            pipe.query_async(&mut self.connection.clone()).await?;
        let cursor = HotCursor::parse(&key, &fields)?;
        let Some(cursor) = cursor.filter(|cursor| cursor.epoch == partition.epoch) else {
            return Ok(None);
        };
        let raised = floors
            .into_iter()
            .map(|(member, floor)| (member, from_score(floor)))
            .filter(|(_, floor)| *floor > cursor.floor);
        Ok(Some((cursor.floor, raised.collect())))
    }

    /// Reads all entries behind the sequence `after`, at most `max_bytes` of packs.
    async fn entries_behind(
        &self,
        keys: Keys,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Vec<ConversationEntries>> {
        let above = format!("({after}");
        let mut connection = self.connection.clone();
        let members: Vec<String> = connection
            .zrangebyscore(keys.conversations(), above, "+inf")
            .await?;
        let from = format!("{}-0", after.saturating_add(1));
        let (mut conversations, mut bytes) = (Vec::new(), 0);
        for members in members.chunks(CONVERSATIONS_PER_ROUND_TRIP) {
            let mut pipe = redis::pipe();
            pipe.atomic();
            for member in members {
                pipe.xrange(keys.packs(member), &from, "+");
                pipe.smembers(keys.duplicates(member));
            }
            let replies: Vec<Value> = pipe.query_async(&mut connection).await?;
            let mut replies = replies.into_iter();
            for member in members {
                let (Some(entries), Some(duplicates)) = (replies.next(), replies.next()) else {
                    return Err(Error::shape(&keys.packs(member), "entries"));
                };
                let entries = parse_entries(&keys.packs(member), entries)?;
                bytes += entries.iter().map(Entry::bytes).sum::<usize>();
                let duplicates: Vec<String> =
                    redis::from_redis_value(duplicates).map_err(redis::RedisError::from)?;
                conversations.push(ConversationEntries {
                    member: member.clone(),
                    entries,
                    duplicates: parse_duplicates(&duplicates),
                });
            }
            if bytes > max_bytes {
                return Err(Error::TooLarge(max_bytes));
            }
        }
        Ok(conversations)
    }
}

/// The rows of one conversation within `range`.
fn decode(
    partition: PartitionId,
    range: CompleteRange,
    stored: ConversationEntries,
) -> Result<Vec<StoredEvent>> {
    let key = Keys::of(partition).packs(&stored.member);
    let Some((tenant, conversation)) = parse_member(&stored.member) else {
        return Err(Error::shape(&key, "name"));
    };
    let request = ReadRequest {
        partition,
        tenant: &tenant,
        conversation: &conversation,
        bounds: Bounds::default(),
        order: Order::Ascending,
        limit: usize::MAX,
    };
    let mut collector = RowCollector::new(&request, range, &key);
    for entry in stored.entries {
        collector.add(entry.events(&key)?, &stored.duplicates)?;
    }
    Ok(collector.rows)
}
