//! The slots that bound how many statements and tails there are at the same time, and who gets the next one.

mod fair_queue;
mod statements;
mod tails;

pub(crate) use statements::{Slot, StatementSlots, Turn};
pub(crate) use tails::{TailSlot, TailSlots};
