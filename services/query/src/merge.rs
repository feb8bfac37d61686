//! Ordered merge: rows of several pieces → one list, by position, one row per event. Pure.

use std::collections::HashMap;

use event::{ConversationId, EventId, Seq, StoredEvent};

/// Which end comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    Asc,
    #[default]
    Desc,
}

/// Sorts by position and keeps one row per position, and one row per event: of an event that was
/// stored twice the one with the least position stays. Below `checked` the compactor has seen to
/// that; above it only the reader can.
pub(crate) fn merge(mut rows: Vec<StoredEvent>, checked: Seq, order: Order) -> Vec<StoredEvent> {
    rows.sort_by_key(|row| row.position);
    rows.dedup_by_key(|row| row.position);
    if rows.last().is_some_and(|row| row.position.seq > checked) {
        drop_duplicates(&mut rows, checked);
    }
    if order == Order::Desc {
        rows.reverse();
    }
    rows
}

/// `rows` ascend.
fn drop_duplicates(rows: &mut Vec<StoredEvent>, checked: Seq) {
    let mut first: HashMap<(ConversationId, EventId), usize> = HashMap::new();
    let mut keep = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let key = (row.event.conversation_id.clone(), row.event.event_id);
        let is_first = *first.entry(key).or_insert(index) == index;
        keep.push(is_first || row.position.seq <= checked);
    }
    let mut keep = keep.into_iter();
    rows.retain(|_| keep.next().expect("one verdict per row"));
}

#[cfg(test)]
pub(crate) mod tests;
