//! Reads of a whole partition, for SQL and rollups: a few entries of many conversations at a time.

mod memory;
mod plan;

use std::{collections::VecDeque, sync::Arc};

use event::{ConversationId, PartitionId, Seq, StoredEvent, TenantId};
use redis::{Cmd, Pipeline, Value};

pub use self::plan::ScanPlan;
use self::{memory::unread_bytes, plan::entries_of_round_trip};
use crate::{
    connection::reply,
    cursor::{Fields, HotCursor, from_score},
    entry::{Entry, parse_entries},
    error::{Error, Result},
    key::{Keys, id, parse_member},
    page::{Bounds, CompleteRange, Duplicates, Order, ReadRequest, RowCollector, parse_duplicates},
    reader::HotReader,
};

/// Conversations read in one round trip. No reason for the number but to bound the size of a reply.
const CONVERSATIONS_PER_ROUND_TRIP: usize = 256;
/// Bytes of packs and their rows that are decoded at once.
const DECODED_BYTES: usize = 256 << 10;

/// A step of a scan.
#[derive(Debug, PartialEq)]
pub enum ScanStep {
    /// Rows of one or more conversations.
    Rows(Vec<StoredEvent>),
    /// The tier no longer has what was planned, or was lost and is being filled again: plan again.
    Stale,
    /// There are no more rows.
    End,
}

/// A scan of one partition. Every round trip reads the cursor together with the entries, so that rows of a
/// tier that was lost meanwhile are never taken for all there are.
pub struct HotScan {
    reader: HotReader,
    partition: PartitionId,
    plan: ScanPlan,
    /// `None` before the first step.
    unread: Option<VecDeque<Unread>>,
    /// Bytes of `unread`.
    unread_bytes: usize,
    /// What was read and is not decoded yet.
    read: VecDeque<(Arc<Conversation>, Entry)>,
    entries_read: usize,
    bytes_read: usize,
    bytes_left: usize,
}

/// A conversation that has entries left to read.
struct Unread {
    member: String,
    /// Known from the first round trip on.
    conversation: Option<Arc<Conversation>>,
    /// The id of the last entry that was read.
    behind: Option<(Seq, u16)>,
}

struct Conversation {
    key: String,
    tenant: TenantId,
    id: ConversationId,
    duplicates: Duplicates,
}

impl std::fmt::Debug for HotScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HotScan").finish_non_exhaustive()
    }
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
        let members: Vec<String> = self.call(&Cmd::zrange(heads, 0, -1)).await?;
        Ok(members
            .iter()
            .filter_map(|text| parse_member(text))
            .collect())
    }

    /// Reads the partition's cursor; `None` when the tier has none for this epoch.
    ///
    /// # Errors
    /// [`Error::Unavailable`] is transient: retry. [`Error::Damaged`] when a field is not a number.
    pub async fn cursor(&self, partition: PartitionId) -> Result<Option<HotCursor>> {
        let key = Keys::of(partition).cursor();
        let fields: Fields = self.call(&Cmd::hgetall(&key)).await?;
        let cursor = HotCursor::parse(&key, &fields)?;
        Ok(cursor.filter(|cursor| cursor.epoch == partition.epoch))
    }

    /// A scan of every row of `partition` in the range of `plan`.
    #[must_use]
    pub fn scan(&self, partition: PartitionId, plan: ScanPlan) -> HotScan {
        HotScan {
            reader: self.clone(),
            partition,
            plan,
            unread: None,
            unread_bytes: 0,
            read: VecDeque::new(),
            entries_read: 0,
            bytes_read: 0,
            bytes_left: 0,
        }
    }
}

impl HotScan {
    /// Reads the next rows, in no order.
    ///
    /// # Errors
    /// [`Error::Unavailable`] is transient: scan again. [`Error::Damaged`] is permanent: read from another
    /// tier.
    pub async fn next(&mut self) -> Result<ScanStep> {
        if self.unread.is_none() && !self.start().await? {
            return Ok(ScanStep::Stale);
        }
        while self.read.is_empty() {
            if self.unread.as_ref().is_none_or(VecDeque::is_empty) {
                return Ok(ScanStep::End);
            }
            if !self.read_entries().await? {
                return Ok(ScanStep::Stale);
            }
        }
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while bytes < DECODED_BYTES
            && let Some((conversation, entry)) = self.read.pop_front()
        {
            let decoded = self.decode(&conversation, &entry)?;
            let long = |row: &StoredEvent| row.event.content.len() + row.event.metadata.len();
            bytes += entry.bytes() + decoded.iter().map(long).sum::<usize>();
            rows.extend(decoded);
        }
        Ok(ScanStep::Rows(rows))
    }

    /// Lists the conversations with entries behind the start of the range, as the first step does by itself;
    /// `false` when the plan is not met.
    ///
    /// # Errors
    /// Those of [`HotScan::next`].
    pub async fn start(&mut self) -> Result<bool> {
        let keys = Keys::of(self.partition);
        let mut pipe = self.state_commands();
        let above = format!("({}", self.plan.range.lo - 1);
        pipe.zrangebyscore(keys.conversations(), above, "+inf");
        let (fields, floors, members): (Fields, Vec<(String, f64)>, Vec<String>) =
            self.reader.query(&pipe).await?;
        let Some(cursor) = self.met_by(&fields, &floors)? else {
            return Ok(false);
        };
        self.bytes_left = usize::try_from(cursor.bytes).unwrap_or(usize::MAX);
        self.unread_bytes = members.iter().map(|member| unread_bytes(member)).sum();
        let unread = members.into_iter().map(|member| Unread {
            member,
            conversation: None,
            behind: None,
        });
        self.unread = Some(unread.collect());
        Ok(true)
    }

    /// Reads the next entries of some conversations; `false` when the plan is not met.
    async fn read_entries(&mut self) -> Result<bool> {
        let keys = Keys::of(self.partition);
        let unread = self.unread.get_or_insert_default();
        let some = unread.len().min(CONVERSATIONS_PER_ROUND_TRIP);
        let entries = entries_of_round_trip(self.entries_read, self.bytes_read, self.bytes_left);
        let some = some.min(entries);
        let count = (entries / some).max(1);
        let batch: Vec<Unread> = unread.drain(..some).collect();
        let taken = batch.iter().map(|one| unread_bytes(&one.member));
        self.unread_bytes -= taken.sum::<usize>();
        let mut pipe = self.state_commands();
        for one in &batch {
            let from = match one.behind {
                Some(behind) => format!("({}", id(behind)),
                None => format!("{}-0", self.plan.range.lo),
            };
            pipe.xrange_count(keys.packs(&one.member), from, "+", count);
            if one.conversation.is_none() {
                pipe.smembers(keys.duplicates(&one.member));
            }
        }
        let replies: Vec<Value> = self.reader.query(&pipe).await?;
        let mut replies = VecDeque::from(replies);
        let fields: Fields = reply(&mut replies)?;
        let floors: Vec<(String, f64)> = reply(&mut replies)?;
        if self.met_by(&fields, &floors)?.is_none() {
            return Ok(false);
        }
        for one in batch {
            self.add(keys, one, &mut replies, count)?;
        }
        Ok(true)
    }

    /// Adds the entries of one conversation; it stays unread when there may be more.
    fn add(
        &mut self,
        keys: Keys,
        mut one: Unread,
        replies: &mut VecDeque<Value>,
        count: usize,
    ) -> Result<()> {
        let key = keys.packs(&one.member);
        let entries = parse_entries(&key, reply(replies)?)?;
        let conversation = match one.conversation.take() {
            Some(known) => known,
            None => {
                let duplicates: Vec<String> = reply(replies)?;
                let member = parse_member(&one.member);
                let (tenant, id) = member.ok_or_else(|| Error::shape(&key, "name"))?;
                Arc::new(Conversation {
                    key,
                    tenant,
                    id,
                    duplicates: parse_duplicates(&duplicates),
                })
            }
        };
        let is_full = entries.len() == count;
        one.behind = entries.last().map(Entry::id);
        for entry in entries {
            self.entries_read += 1;
            self.bytes_read += entry.bytes();
            self.bytes_left = self.bytes_left.saturating_sub(entry.bytes());
            self.read.push_back((Arc::clone(&conversation), entry));
        }
        let is_past = one.behind.is_some_and(|(seq, _)| seq > self.plan.range.hi);
        if is_full && !is_past {
            one.conversation = Some(conversation);
            self.unread_bytes += unread_bytes(&one.member);
            self.unread.get_or_insert_default().push_front(one);
        }
        Ok(())
    }

    /// The commands, in one transaction with those that are added, whose replies [`Self::met_by`] takes.
    fn state_commands(&self) -> Pipeline {
        let keys = Keys::of(self.partition);
        let mut pipe = redis::pipe();
        pipe.atomic().hgetall(keys.cursor());
        let above = format!("({}", self.plan.range.lo);
        pipe.zrangebyscore_withscores(keys.floors(), above, "+inf");
        pipe
    }

    /// Returns the cursor if the plan is met.
    fn met_by(&self, fields: &Fields, floors: &[(String, f64)]) -> Result<Option<HotCursor>> {
        let key = Keys::of(self.partition).cursor();
        let cursor = HotCursor::parse(&key, fields)?;
        let cursor = cursor.filter(|cursor| cursor.epoch == self.partition.epoch);
        let floor = cursor.map_or(0, |cursor| cursor.floor);
        let raised = floors.iter().filter(|(_, own)| from_score(*own) > floor);
        let raised = raised.count();
        Ok(cursor.filter(|cursor| self.plan.is_met(cursor, raised)))
    }

    fn decode(&self, conversation: &Conversation, entry: &Entry) -> Result<Vec<StoredEvent>> {
        let request = ReadRequest {
            partition: self.partition,
            tenant: &conversation.tenant,
            conversation: &conversation.id,
            bounds: Bounds::default(),
            order: Order::Ascending,
            limit: usize::MAX,
        };
        let range = CompleteRange::of(self.plan.range);
        let mut collector = RowCollector::new(&request, range, &conversation.key);
        collector.add(entry.events(&conversation.key)?, &conversation.duplicates)?;
        Ok(collector.rows)
    }
}
