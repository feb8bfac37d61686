//! `If-Match`: a conditional append, which succeeds only when the conversation ends at the client's position.
//!
//! The log of the partition is read from the client's position to its end. When no event of the
//! conversation is behind the position, the frame is appended on the condition that the log still ends
//! there; otherwise the new messages are read, and so on. Of several requests with one position exactly one
//! is stored, and none when another event of the conversation came first.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bytes::Bytes;
use event::{
    ConversationId, EventId, PartitionCount, PartitionId, Position, Seq, SeqRange, TenantId,
};
use event_log::{Appended, EventLog};
use event_proto::Frame;
use futures::TryStreamExt as _;
use tracing::{Span, error};

use crate::{
    accept::Accepted,
    problem::Problem,
    publish::{self, Receipt, receipt},
};

/// Most messages of the log that are read to check a condition. No reason but to bound the work.
const MAX_MESSAGES_READ: Seq = 10_000;
/// The longest that a conditional append is retried while other writers append to the partition.
const CONDITIONAL_APPEND_TIMEOUT: Duration = Duration::from_secs(10);

/// The position at which a conversation must end for a request to be stored.
#[derive(Debug)]
pub(crate) struct ExpectedEnd {
    last: Position,
    tenant: TenantId,
    conversation: ConversationId,
}

/// The end of a conversation in the log, from the expected position on.
#[derive(Debug, Default)]
struct ConversationTail {
    /// The last position of the conversation.
    current: Option<Position>,
    /// The first frame behind the expected position with events of the conversation, and their ids.
    next: Option<(Seq, Vec<EventId>)>,
}

impl ExpectedEnd {
    /// Checks that the condition is about one conversation and a position of its partition.
    pub(crate) fn new(
        last: Position,
        tenant: &TenantId,
        conversation: Option<&ConversationId>,
        partitions: PartitionCount,
    ) -> Result<Self, Problem> {
        let invalid = |detail| Problem::bad_request("invalid_condition", detail);
        let conversation = conversation.ok_or_else(|| {
            invalid("If-Match is about one conversation: POST /v1/conversations/{id}/events")
        })?;
        if last.partition != partitions.partition_of(tenant, conversation) {
            return Err(invalid(
                "the position of If-Match is one of another conversation; take one of this",
            ));
        }
        Ok(Self {
            last,
            tenant: tenant.clone(),
            conversation: conversation.clone(),
        })
    }

    /// Appends the accepted events; the problem names the current end when it is not the expected one.
    pub(crate) async fn publish(
        self,
        log: &EventLog,
        accepted: Accepted,
        receipts: bool,
    ) -> Result<Receipt, Problem> {
        let [frame] = &accepted.frames[..] else {
            return Err(Problem::too_large(
                "condition_too_large",
                "with If-Match a request is stored as a whole or not at all, so it holds at most \
                 500 events and 256 KiB; send the rest behind the positions of its receipts",
            ));
        };
        let headers = service_runtime::propagation::inject(&Span::current());
        let (partition, began) = (frame.partition, Instant::now());
        let mut tail = ConversationTail::default();
        let mut read_through = self.last.seq.saturating_sub(1);
        let checked = log.check_identity(partition).await;
        checked.map_err(|error| publish::problem(&error))?;
        loop {
            let last = log
                .last_seq(partition)
                .await
                .map_err(|e| publish::problem(&e))?;
            self.read(log, partition, read_through, last, &mut tail)
                .await?;
            read_through = last.max(read_through);
            if let Some(seq) = tail.stored_by_retry(&accepted) {
                return Ok(receipt(accepted, &[duplicate_at(seq)], receipts));
            }
            if tail.current != Some(self.last) {
                return Err(self.position_mismatch(&tail));
            }
            let (id, payload) = (&frame.message_id, frame.payload.clone());
            let appended = log.append_behind(partition, last, id, payload, headers.clone());
            match appended.await.map_err(|error| publish::problem(&error))? {
                Some(appended) => return Ok(receipt(accepted, &[appended], receipts)),
                None if began.elapsed() < CONDITIONAL_APPEND_TIMEOUT => {}
                None => return Err(partition_busy()),
            }
        }
    }

    /// Adds the messages behind `read_through` up to `last` to `tail`.
    async fn read(
        &self,
        log: &EventLog,
        partition: PartitionId,
        read_through: Seq,
        last: Seq,
        tail: &mut ConversationTail,
    ) -> Result<(), Problem> {
        let log_problem = |error| publish::problem(&error);
        let Some(range) = SeqRange::new(read_through + 1, last) else {
            return Ok(());
        };
        let first = log.first_seq(partition).await.map_err(log_problem)?;
        if first > range.lo || last - read_through > MAX_MESSAGES_READ {
            return Err(self.out_of_reach());
        }
        let mut messages = log
            .read_range(partition, range)
            .await
            .map_err(log_problem)?;
        while let Some(message) = messages.try_next().await.map_err(log_problem)? {
            let damaged = |problem: &dyn std::error::Error| {
                error!(%problem, seq = message.seq, %partition, "frame of the log is damaged");
                publish::problem(&event_log::Error::Setup("a frame is damaged".to_owned()))
            };
            let events = self.events(message.payload.clone());
            let events = events.map_err(|problem| damaged(&problem))?;
            tail.add(self.last, partition, message.seq, &events);
        }
        Ok(())
    }

    /// The index and id of each event of the conversation in a message.
    fn events(&self, payload: Bytes) -> Result<Vec<(u16, EventId)>, event_proto::DecodeError> {
        let frame = Frame::decode(payload)?;
        let is_ours = |index: usize| frame.conversations[index] == self.conversation;
        if frame.tenant != self.tenant {
            return Ok(Vec::new());
        }
        let events = (0..).zip(&frame.events);
        events
            .filter(|(_, event)| is_ours(event.conversation))
            .map(|(idx, event)| Ok((idx, frame.event(event)?.event_id)))
            .collect()
    }

    /// The problem of a conversation that ends elsewhere.
    fn position_mismatch(&self, tail: &ConversationTail) -> Problem {
        let current = tail.current.map(|position| position.to_string());
        let detail = match &current {
            Some(current) => format!(
                "the conversation ends at {current}, not at {}; nothing was stored; read what came, \
                 then decide again",
                self.last
            ),
            None => format!(
                "no event of the conversation lies at {} or behind; nothing was stored; take the \
                 position of its last event",
                self.last
            ),
        };
        let status = StatusCode::PRECONDITION_FAILED;
        Problem {
            current,
            ..Problem::new(status, "position_mismatch", detail)
        }
    }

    /// The problem of a position that is purged or too far back to check.
    fn out_of_reach(&self) -> Problem {
        let detail = format!(
            "the log does not reach from its end back to {} any more, so it cannot be checked \
             whether the conversation ends there; nothing was stored; append without If-Match, and \
             go on behind the position of the receipt",
            self.last
        );
        Problem::new(StatusCode::CONFLICT, "position_out_of_reach", detail)
    }
}

impl ConversationTail {
    /// Adds the conversation's events in the message `seq`.
    fn add(
        &mut self,
        expected: Position,
        partition: PartitionId,
        seq: Seq,
        events: &[(u16, EventId)],
    ) {
        let Some((idx, _)) = events.last() else {
            return;
        };
        self.current = Some(Position::new(partition, seq, *idx));
        if seq > expected.seq && self.next.is_none() {
            self.next = Some((seq, events.iter().map(|(_, id)| *id).collect()));
        }
    }

    /// The sequence of the first frame behind the expected position when its events are those of this
    /// request: it is a retry after a lost response.
    fn stored_by_retry(&self, accepted: &Accepted) -> Option<Seq> {
        let (seq, ids) = self.next.as_ref()?;
        let placements = accepted.placements.iter();
        let stored = placements.filter(|placement| !placement.repeated);
        stored
            .map(|placement| placement.event_id)
            .eq(ids.iter().copied())
            .then_some(*seq)
    }
}

/// The acknowledgement of a frame that the log has already.
fn duplicate_at(seq: Seq) -> Appended {
    Appended {
        seq,
        duplicate: true,
    }
}

/// The problem of a condition that other writers invalidate again and again.
fn partition_busy() -> Problem {
    let detail = "others append to this partition faster than the condition can be checked; nothing \
                  was stored; retry";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Problem::new(status, "partition_busy", detail).retry_after(1)
}
