//! Ordered merge: rows of several pieces → one list, by position, one row per event. Pure.

use std::collections::HashMap;

use event::{ConversationId, EventId, Seq, StoredEvent};

/// The order of an answer, by position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReadOrder {
    Asc,
    #[default]
    Desc,
}

/// Sorts by position and keeps one row per position and one row per event: of an event that was
/// stored twice the row with the lowest position stays. Up to `checked` the compactor has dropped the
/// duplicates already; rows above it are compared here.
pub(crate) fn merge(
    mut rows: Vec<StoredEvent>,
    checked: Seq,
    order: ReadOrder,
) -> Vec<StoredEvent> {
    rows.sort_by_key(|row| row.position);
    rows.dedup_by_key(|row| row.position);
    if rows.last().is_some_and(|row| row.position.seq > checked) {
        drop_duplicates(&mut rows, checked);
    }
    if order == ReadOrder::Desc {
        rows.reverse();
    }
    rows
}

/// Drops each row above `checked` that is a duplicate of an earlier one. `rows` are in ascending order.
fn drop_duplicates(rows: &mut Vec<StoredEvent>, checked: Seq) {
    let mut first: HashMap<(ConversationId, EventId), usize> = HashMap::new();
    let mut keep = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let key = (row.event.conversation_id.clone(), row.event.event_id);
        let is_first = *first.entry(key).or_insert(index) == index;
        keep.push(is_first || row.position.seq <= checked);
    }
    let mut keep = keep.into_iter();
    rows.retain(|_| keep.next().expect("one flag per row"));
}

#[cfg(test)]
pub(crate) mod tests;
