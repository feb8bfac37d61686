//! `If-Match`: a conditional append, which succeeds only when the conversation ends at the client's position.
//!
//! [`Conditions`] knows where the conversations of a partition end, from one read of the log for all requests.
//! When the conversation ends as expected, the frame is appended on the condition that the log still ends
//! there; otherwise the new messages are read, and so on. Of several requests with one position exactly one
//! is stored, and none when another event of the conversation came first.

mod conditions;
mod ends;

use std::time::Duration;

use axum::http::StatusCode;
use event::{ConversationId, PartitionCount, Position, Seq, TenantId};
use event_log::{AppendOutcome, Appended, EventLog};
use tokio::time::Instant;

pub(crate) use self::conditions::Conditions;
use self::{
    conditions::EndError,
    ends::{ConversationEnd, NameHash},
};
use crate::{
    accept::Accepted,
    problem::Problem,
    publish::{self, FrameAck, Headers, NewMessage},
};

/// The longest that a conditional append is retried while other writers append to the partition.
const CONDITIONAL_APPEND_TIMEOUT: Duration = Duration::from_secs(10);

/// The position at which a conversation must end for a request to be stored.
#[derive(Debug)]
pub(crate) struct ExpectedEnd {
    last: Position,
    tenant: TenantId,
    conversation: ConversationId,
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
        conditions: &Conditions,
        accepted: &Accepted,
        headers: &Headers,
    ) -> Result<FrameAck, Problem> {
        let [frame] = &accepted.frames[..] else {
            return Err(Problem::too_large(
                "condition_too_large",
                "with If-Match a request is stored as a whole or not at all, so it holds at most \
                 500 events and 256 KiB; send the rest behind the positions of its receipts",
            ));
        };
        let partition = frame.partition;
        let checked = log.check_identity(partition).await;
        checked.map_err(|error| publish::problem(&error))?;
        let message = NewMessage {
            partition,
            id: frame.events.message_id(),
            payload: frame.events.clone().encode(),
            headers: headers.to_vec(),
        };
        let deadline = Instant::now() + CONDITIONAL_APPEND_TIMEOUT;
        // Whether the last append may have stored it, until the log behind that is read.
        let mut may_be_stored = false;
        loop {
            let end = self.end(log, conditions, &message.id);
            let end = tokio::time::timeout_at(deadline, end).await;
            let end = end.unwrap_or(Err(Unsettled::PartitionBusy));
            let last = match self.decide(end, may_be_stored)? {
                Decision::AppendBehind(last) => last,
                Decision::Stored(seq) => {
                    // An own append that was not acknowledged is no duplicate of itself.
                    let duplicate = !may_be_stored;
                    return Ok(FrameAck::new(
                        partition,
                        Appended {
                            seq,
                            duplicate,
                            id_known: true,
                        },
                        0,
                    ));
                }
            };
            let appended = message.append(log, Some(last)).await;
            match appended.map_err(|error| publish::problem(&error))? {
                AppendOutcome::Appended(appended) => {
                    return Ok(FrameAck::new(partition, appended, 0));
                }
                AppendOutcome::EndsElsewhere { may_be_stored: may } => may_be_stored = may,
            }
        }
    }

    /// What to do now; the problem when it is nothing. `may_be_stored`: the last append may have stored it.
    fn decide(&self, end: End, may_be_stored: bool) -> Result<Decision, Problem> {
        let (end, last) = end.map_err(|reason| self.unsettled(reason, may_be_stored))?;
        match end {
            ConversationEnd::Expected => Ok(Decision::AppendBehind(last)),
            ConversationEnd::Stored(seq) => Ok(Decision::Stored(seq)),
            ConversationEnd::Elsewhere(current) => Err(self.position_mismatch(current)),
            ConversationEnd::FarBehind(_) if may_be_stored => Err(outcome_unknown()),
            ConversationEnd::FarBehind(current) => Err(self.far_behind(current)),
            ConversationEnd::Unreadable(seq) => Err(self.end_unknown(seq)),
        }
    }

    /// Where the conversation ends, seen from the expected position, and the sequence through which that is
    /// known. Messages about which a person has decided are passed over.
    async fn end(&self, log: &EventLog, conditions: &Conditions, message_id: &str) -> End {
        let conversation = NameHash::of_conversation(&self.tenant, &self.conversation);
        let message = NameHash::of_message(message_id);
        loop {
            let end = conditions.end(log, conversation, self.last, message).await;
            let (end, last) = end?;
            let ConversationEnd::Unreadable(seq) = end else {
                return Ok((end, last));
            };
            let settled = conditions.is_settled(log, self.last.partition, seq).await;
            if !settled.map_err(EndError::Log)? {
                return Ok((end, last));
            }
        }
    }

    /// The problem of a request about which nothing is known but `reason`, and whether its last append may
    /// have stored it.
    fn unsettled(&self, reason: Unsettled, may_be_stored: bool) -> Problem {
        match reason {
            Unsettled::End(EndError::Log(error)) => publish::problem(&error),
            _ if may_be_stored => outcome_unknown(),
            Unsettled::End(EndError::OutOfReach) => self.out_of_reach(),
            Unsettled::PartitionBusy => partition_busy(),
        }
    }

    /// The problem of a conversation that ends elsewhere.
    fn position_mismatch(&self, current: Option<Position>) -> Problem {
        let current = current.map(|position| position.to_string());
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

    /// The problem of a conversation that has grown beyond what is known of it.
    fn far_behind(&self, current: Position) -> Problem {
        let detail = format!(
            "the conversation ends at {current}, far behind {}; this request stored nothing, but it is not known \
             any more whether an earlier one with the same ids did; read what came, then decide again",
            self.last
        );
        let status = StatusCode::PRECONDITION_FAILED;
        Problem {
            current: Some(current.to_string()),
            ..Problem::new(status, "position_mismatch", detail)
        }
    }

    /// The problem of a message that may have events of the conversation, and cannot be read.
    fn end_unknown(&self, seq: Seq) -> Problem {
        let unreadable = Position::new(self.last.partition, seq, 0);
        let detail = format!(
            "the log has a message at {unreadable} that cannot be read and may belong to the conversation, so \
             it is not known whether that still ends at {}; nothing was stored; decide about the message \
             with isotherm dlq, then retry, or append without If-Match",
            self.last
        );
        Problem::new(StatusCode::CONFLICT, "end_unknown", detail)
    }

    /// The problem of a position that is purged or too far back to check.
    fn out_of_reach(&self) -> Problem {
        let detail = format!(
            "the log does not reach from its end back to {} any more, so it cannot be checked \
             whether the conversation ends there; this request stored nothing; append without If-Match, \
             with the same event ids, and go on behind the position of the receipt",
            self.last
        );
        Problem::new(StatusCode::CONFLICT, "position_out_of_reach", detail)
    }
}

/// Where the conversation ends, and the sequence through which that is known.
type End = Result<(ConversationEnd, Seq), Unsettled>;

/// What to do with a conditional append.
#[derive(Debug)]
enum Decision {
    AppendBehind(Seq),
    /// An earlier attempt stored it as this message.
    Stored(Seq),
}

/// Why a conditional append ends without an answer of the log to it.
#[derive(Debug)]
enum Unsettled {
    /// It is not known where the conversation ends.
    End(EndError),
    /// Others append faster.
    PartitionBusy,
}

impl From<EndError> for Unsettled {
    fn from(error: EndError) -> Self {
        Self::End(error)
    }
}

/// The problem of a condition that other writers invalidate again and again.
fn partition_busy() -> Problem {
    let detail = "others append to this partition faster than the condition can be checked; this request \
                  stored nothing; retry with the same event ids";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Problem::new(status, "partition_busy", detail).retry_after(1)
}

/// The problem of an append whose acknowledgement was lost, and for which the log was not searched.
fn outcome_unknown() -> Problem {
    let detail = "the log's acknowledgement was lost, so the events may have been stored; send them again with \
                  the same event ids and the same If-Match";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Problem::new(status, "outcome_unknown", detail).retry_after(1)
}

#[cfg(test)]
mod tests;
