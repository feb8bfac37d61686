//! What a following client is: a place among those that follow, a memory of what it got, and the
//! form of what it gets.

use std::{
    collections::{HashSet, VecDeque},
    fmt::Write as _,
};

use event::{ConversationId, EventId, StoredEvent};
use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;

/// Events remembered, so that one that was sent twice by its producer is not shown twice.
const REMEMBERED: usize = 8192;

/// One of the clients that may follow at the same time.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    clients: IntGauge,
}

impl Slot {
    pub(crate) fn new(permit: OwnedSemaphorePermit, clients: IntGauge) -> Self {
        clients.inc();
        Self {
            _permit: permit,
            clients,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.clients.dec();
    }
}

/// The last events that a client got.
#[derive(Debug, Default)]
pub(super) struct Recent {
    known: HashSet<(ConversationId, EventId)>,
    order: VecDeque<(ConversationId, EventId)>,
}

impl Recent {
    pub(super) fn is_new(&mut self, row: &StoredEvent) -> bool {
        let key = (row.event.conversation_id.clone(), row.event.event_id);
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
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
