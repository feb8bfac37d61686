//! `If-Match`: append only when the conversation still ends where the client believes it does.
//!
//! The log of the partition is read from the client's position to its end. When no event of the
//! conversation lies behind the position, the frame is appended on the condition that the log still
//! ends there; when it does not, what came is read, and so on. So of any number of requests with
//! one position exactly one is stored, and none when anybody else was before them.

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

/// Most messages of the log that are read to decide.
const MAX_READ: Seq = 10_000;
/// How long others may be faster.
const LIMIT: Duration = Duration::from_secs(10);

/// Where a conversation must end for a request to be stored.
#[derive(Debug)]
pub(crate) struct Expected {
    last: Position,
    tenant: TenantId,
    conversation: ConversationId,
}

/// What the log says of a conversation from the expected position on.
#[derive(Debug, Default)]
struct Found {
    current: Option<Position>,
    /// The first frame behind the expected position that has events of it, and which.
    next: Option<(Seq, Vec<EventId>)>,
}

impl Expected {
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

    /// Appends what was accepted, or says where the conversation ends.
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
        let (mut found, mut read) = (Found::default(), self.last.seq.saturating_sub(1));
        loop {
            let last = log
                .last_seq(partition)
                .await
                .map_err(|e| publish::problem(&e))?;
            self.read(log, partition, read, last, &mut found).await?;
            read = last.max(read);
            if let Some(seq) = found.stored_before(&accepted) {
                return Ok(receipt(accepted, &[known(seq)], receipts));
            }
            if found.current != Some(self.last) {
                return Err(self.moved(&found));
            }
            let (id, payload) = (&frame.message_id, frame.payload.clone());
            let appended = log.append_behind(partition, last, id, payload, headers.clone());
            match appended.await.map_err(|error| publish::problem(&error))? {
                Some(appended) => return Ok(receipt(accepted, &[appended], receipts)),
                None if began.elapsed() < LIMIT => {}
                None => return Err(busy()),
            }
        }
    }

    /// Adds what lies behind `read`, up to `last`.
    async fn read(
        &self,
        log: &EventLog,
        partition: PartitionId,
        read: Seq,
        last: Seq,
        found: &mut Found,
    ) -> Result<(), Problem> {
        let unread = |error| publish::problem(&error);
        let Some(range) = SeqRange::new(read + 1, last) else {
            return Ok(());
        };
        let first = log.first_seq(partition).await.map_err(unread)?;
        if first > range.lo || last - read > MAX_READ {
            return Err(self.out_of_reach());
        }
        let mut messages = log.read_range(partition, range).await.map_err(unread)?;
        while let Some(message) = messages.try_next().await.map_err(unread)? {
            let damaged = |problem: &dyn std::error::Error| {
                error!(%problem, seq = message.seq, %partition, "a frame is damaged");
                publish::problem(&event_log::Error::Setup("a frame is damaged".to_owned()))
            };
            let events = self.events(message.payload.clone());
            let events = events.map_err(|problem| damaged(&problem))?;
            found.add(self.last, partition, message.seq, &events);
        }
        Ok(())
    }

    /// The conversation's events in a message, with their places.
    fn events(&self, payload: Bytes) -> Result<Vec<(u16, EventId)>, event_proto::DecodeError> {
        let frame = Frame::decode(payload)?;
        let of_it = |index: usize| frame.conversations[index] == self.conversation;
        if frame.tenant != self.tenant {
            return Ok(Vec::new());
        }
        let events = (0..).zip(&frame.events);
        events
            .filter(|(_, event)| of_it(event.conversation))
            .map(|(idx, event)| Ok((idx, event.encoded.decode(&frame.tenant)?.event_id)))
            .collect()
    }

    fn moved(&self, found: &Found) -> Problem {
        let current = found.current.map(|position| position.to_string());
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

    fn out_of_reach(&self) -> Problem {
        let detail = format!(
            "the log does not reach from its end back to {} any more, so nobody can say in time \
             whether the conversation ends there; nothing was stored; append without If-Match, and \
             go on behind the position of the receipt",
            self.last
        );
        Problem::new(StatusCode::CONFLICT, "position_out_of_reach", detail)
    }
}

impl Found {
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

    /// Where the request's own events lie, when they are what came behind the expected position: it
    /// is a retry whose first answer was lost.
    fn stored_before(&self, accepted: &Accepted) -> Option<Seq> {
        let (seq, ids) = self.next.as_ref()?;
        let own = accepted.placed.iter().filter(|place| !place.repeated);
        own.map(|place| place.event_id)
            .eq(ids.iter().copied())
            .then_some(*seq)
    }
}

fn known(seq: Seq) -> Appended {
    Appended {
        seq,
        duplicate: true,
    }
}

fn busy() -> Problem {
    let detail = "others append to this partition faster than the condition can be checked; nothing \
                  was stored; retry";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Problem::new(status, "partition_busy", detail).retry_after(1)
}
