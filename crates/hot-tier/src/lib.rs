//! The hot tier: the newest hour of events in Redis (7 or later) or Valkey. The only crate that links
//! `redis`.
//!
//! A partition's cursor is stored beside its events and moves in the same transaction, by
//! compare-and-set: a writer that died, hangs or runs twice neither loses nor repeats an event. Redis
//! is a cache; when it has lost a partition, [`HotWriter::cursor`] and [`HotReader::read`] return
//! `None`.
//!
//! Invariant: everything from a conversation's floor to the cursor's `last` is in the tier. Events below
//! the floor are not returned, even while they are still stored.

mod append;
mod args;
mod connection;
mod cursor;
mod entry;
mod error;
mod key;
mod page;
mod reader;
mod script;
mod stall;
mod trim;
mod writer;

pub use args::RedisArgs;
pub use cursor::{HotCursor, Stats};
pub use error::{Error, Result};
pub use page::{Bounds, Order};
pub use reader::{HotRead, HotReader};
pub use trim::{Limits, Trimmed};
pub use writer::{Appended, ConversationPack, DuplicateEvent, HotWriter, Marked};
