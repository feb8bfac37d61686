//! The event: its identity, its position in the log, its limits.
//!
//! Pure: no IO, no async, no serde, no clock but [`Timestamp::now`], which only the edge may call.
//! Every type is validated once, when it is parsed at the edge. Every other crate of the
//! workspace may depend on this one, and it depends on none of them.

mod event;
mod id;
mod partition;
mod position;
mod range;
mod time;

pub use event::{
    ContentEncoding, Event, MAX_CORRELATION_BYTES, MAX_EVENT_BYTES, MAX_TASK_BYTES, StoredEvent,
};
pub use id::{ConversationId, EventId, EventType, IdError, TenantId};
pub use partition::{PartitionCount, PartitionId};
pub use position::{ParsePositionError, Position, Seq};
pub use range::{RangeSet, SeqRange};
pub use time::{ParseTimestampError, Timestamp};
