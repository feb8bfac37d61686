//! Reading a whole partition: for SQL and rollups.

use std::collections::HashMap;

use event::{ConversationId, PartitionId, Seq, StoredEvent, TenantId};
use redis::{AsyncCommands as _, Value};

use crate::{
    cursor::{Fields, HotCursor, from_score},
    entry::{Entry, parse_entries},
    error::{Error, Result},
    key::{Keys, parse_member},
    page::{Bounds, Dropped, Frontier, Order, Rows, Wanted, parse_dropped},
    reader::HotReader,
};

/// Conversations asked for in one round trip.
const AT_ONCE: usize = 256;

/// Rows of every conversation of a partition, in the order of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct HotScan {
    pub rows: Vec<StoredEvent>,
    /// The rows are everything from here ...
    pub floor: Seq,
    /// ... to here, ...
    pub last: Seq,
    /// Up to here no row is a duplicate.
    pub checked: Seq,
    /// ... but for these conversations, which have floors of their own above `floor`.
    pub raised: Vec<(TenantId, ConversationId, Seq)>,
}

/// The entries of one conversation, and the duplicates among them.
type Found = (String, Vec<Entry>, Dropped);

impl HotReader {
    /// The conversations with something in the tier.
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

    /// Every row behind `after`; `None` when the tier knows nothing of the partition.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the packs are more than `max_bytes`.
    pub async fn read_all(
        &self,
        partition: PartitionId,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Option<HotScan>> {
        let keys = Keys::of(partition);
        // First how far, then the rows, then from where: whatever is trimmed or written meanwhile,
        // the rows between the two are whole.
        let Some(start) = self.cursor(partition).await? else {
            return Ok(None);
        };
        let found = self.entries_behind(keys, after, max_bytes).await?;
        let Some((floor, raised)) = self.floors(partition, after).await? else {
            return Ok(None);
        };
        let mut rows = Vec::new();
        for (member, entries, dropped) in found {
            let own = raised.get(&member).copied().unwrap_or(floor).max(floor);
            let frontier = Frontier {
                cursor: start,
                floor: own.max(after.saturating_add(1)),
            };
            rows.extend(decode(partition, &member, frontier, entries, &dropped)?);
        }
        rows.sort_unstable_by_key(|row| row.position);
        let raised = raised.into_iter().filter_map(|(member, floor)| {
            let (tenant, conversation) = parse_member(&member)?;
            Some((tenant, conversation, floor))
        });
        Ok(Some(HotScan {
            rows,
            floor: floor.max(after.saturating_add(1)),
            last: start.last,
            checked: start.checked,
            raised: raised.collect(),
        }))
    }

    /// How far the partition is; `None` when the tier knows nothing of this epoch of it.
    pub async fn cursor(&self, partition: PartitionId) -> Result<Option<HotCursor>> {
        let key = Keys::of(partition).cursor();
        let fields: Fields = self.connection.clone().hgetall(&key).await?;
        let cursor = HotCursor::parse(&key, &fields)?;
        Ok(cursor.filter(|cursor| cursor.epoch == partition.epoch))
    }

    /// The partition's floor and the higher ones of conversations, as they are now.
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
        let own = floors
            .into_iter()
            .map(|(member, floor)| (member, from_score(floor)))
            .filter(|(_, floor)| *floor > cursor.floor);
        Ok(Some((cursor.floor, own.collect())))
    }

    async fn entries_behind(&self, keys: Keys, after: Seq, max: usize) -> Result<Vec<Found>> {
        let above = format!("({after}");
        let conversations = keys.conversations();
        let mut connection = self.connection.clone();
        let members: Vec<String> = connection
            .zrangebyscore(conversations, above, "+inf")
            .await?;
        let from = format!("{}-0", after.saturating_add(1));
        let (mut found, mut bytes) = (Vec::new(), 0);
        for members in members.chunks(AT_ONCE) {
            let mut pipe = redis::pipe();
            pipe.atomic();
            for member in members {
                pipe.xrange(keys.packs(member), &from, "+");
                pipe.smembers(keys.dropped(member));
            }
            let answer: Vec<Value> = pipe.query_async(&mut connection).await?;
            let mut answer = answer.into_iter();
            for member in members {
                let (Some(entries), Some(dropped)) = (answer.next(), answer.next()) else {
                    return Err(Error::shape(&keys.packs(member), "entries"));
                };
                let entries = parse_entries(&keys.packs(member), entries)?;
                bytes += entries.iter().map(Entry::bytes).sum::<usize>();
                let dropped: Vec<String> =
                    redis::from_redis_value(dropped).map_err(redis::RedisError::from)?;
                found.push((member.clone(), entries, parse_dropped(&dropped)));
            }
            if bytes > max {
                return Err(Error::TooLarge(max));
            }
        }
        Ok(found)
    }
}

fn decode(
    partition: PartitionId,
    member: &str,
    frontier: Frontier,
    entries: Vec<Entry>,
    dropped: &Dropped,
) -> Result<Vec<StoredEvent>> {
    let key = Keys::of(partition).packs(member);
    let Some((tenant, conversation)) = parse_member(member) else {
        return Err(Error::shape(&key, "name"));
    };
    let wanted = Wanted {
        partition,
        tenant: &tenant,
        conversation: &conversation,
        bounds: Bounds::default(),
        order: Order::Ascending,
        limit: usize::MAX,
    };
    let mut rows = Rows::new(&wanted, frontier, &key);
    for entry in entries {
        rows.take(entry, dropped)?;
    }
    Ok(rows.rows)
}
