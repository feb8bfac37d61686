//! The client of a tail: the events that it got lately, and the text format of an event.

use std::{
    collections::{HashSet, VecDeque},
    fmt::Write as _,
};

use event::{ConversationId, EventId, StoredEvent};

/// Events that are remembered per client, so that a duplicate of one of them is not sent again.
const MAX_RECENT_EVENTS: usize = 8192;

/// The last `MAX_RECENT_EVENTS` events that a client got.
#[derive(Debug, Default)]
pub(super) struct RecentEvents {
    known: HashSet<(ConversationId, EventId)>,
    order: VecDeque<(ConversationId, EventId)>,
}

impl RecentEvents {
    /// Adds the event of `row`; `false` when it is there already.
    pub(super) fn add(&mut self, row: &StoredEvent) -> bool {
        let key = (row.event.conversation_id.clone(), row.event.event_id);
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > MAX_RECENT_EVENTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// Appends one server-sent event. `data` has no line ends.
pub(super) fn event_text(id: &str, data: &str, out: &mut String) {
    write!(out, "id: {id}\ndata: {data}\n\n").expect("a String takes everything");
}
