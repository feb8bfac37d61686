//! The hot tier: the newest hour in Redis (7 or later) or Valkey. The only crate that speaks to
//! either.
//!
//! A partition's cursor lives beside its events and moves in the same transaction, from where it was:
//! a writer that died, hangs or runs twice neither loses nor repeats an event. Redis is a cache;
//! when it has lost a partition, [`HotWriter::cursor`] and [`HotReader::read`] say so by `None`.
//!
//! Invariant: everything from a conversation's floor to the cursor's `last` is in the tier. What
//! is below the floor is not returned, even while it is still there.

mod append;
mod args;
mod connection;
mod cursor;
mod entry;
mod error;
mod key;
mod page;
mod reader;
mod scan;
mod script;
mod trim;
mod writer;

pub use args::RedisArgs;
pub use cursor::{HotCursor, Stats};
pub use error::{Error, Result};
pub use page::{Bounds, Order};
pub use reader::{HotRead, HotReader};
pub use scan::HotScan;
pub use trim::{Limits, Trimmed};
pub use writer::{Appended, ConversationPack, Dropped, HotWriter, Marked};
