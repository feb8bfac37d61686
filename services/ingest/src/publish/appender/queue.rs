//! The frames of one partition that wait, and which of them the next message has. Pure.

use std::collections::BTreeMap;

use event_proto::{FrameBuilder, MAX_FRAME_BYTES, MAX_FRAME_EVENTS};

use super::Headers;

/// Most messages of a partition that are on their way at the same time. The log stores about one in the time
/// in which the next arrives; more would only wait there.
const MAX_IN_FLIGHT: usize = 8;
/// A message that is so full, in events or bytes, does not wait for the one before it.
const FULL_ENOUGH_PERCENT: usize = 50;

/// A frame that waits for its message.
#[derive(Debug)]
pub(super) struct Waiting<A> {
    pub(super) events: FrameBuilder,
    pub(super) headers: Headers,
    pub(super) answer: A,
}

/// Frames that go in one message.
#[derive(Debug)]
pub(super) struct Message<A> {
    pub(super) events: FrameBuilder,
    /// Those of the first frame: a message belongs to one trace.
    pub(super) headers: Headers,
    /// For each frame, the index of its first event.
    pub(super) answers: Vec<(u16, A)>,
}

/// The place of a frame in the queue; a later one is greater.
pub(super) type Ticket = u64;

/// The frames that wait, in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue<A> {
    waiting: BTreeMap<Ticket, Waiting<A>>,
    next_ticket: Ticket,
    in_flight: usize,
}

impl<A> Default for Queue<A> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next_ticket: 0,
            in_flight: 0,
        }
    }
}

impl<A> Queue<A> {
    /// Adds a frame behind all others.
    pub(super) fn push(&mut self, frame: Waiting<A>) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, frame);
        ticket
    }

    /// Removes a frame; `None` when it is on its way already. The others keep their order.
    pub(super) fn withdraw(&mut self, ticket: Ticket) -> Option<Waiting<A>> {
        self.waiting.remove(&ticket)
    }

    /// Notes that a message is acknowledged, or has failed.
    pub(super) fn acknowledged(&mut self) {
        self.in_flight -= 1;
    }

    /// Takes the next message: the frames at the front that fit into one. `None` when none waits, or when
    /// one is on its way and what waits would not fill another.
    pub(super) fn next_message(&mut self) -> Option<Message<A>> {
        let wait = self.in_flight > 0 && !self.has_full_message();
        if wait || self.in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        let (_, first) = self.waiting.pop_first()?;
        let Waiting {
            mut events,
            headers,
            answer,
        } = first;
        let mut answers = vec![(0, answer)];
        while let Some(next) = self.waiting.first_entry()
            && events.has_room_for_frame(&next.get().events)
        {
            let next = next.remove();
            answers.push((events.append(next.events), next.answer));
        }
        self.in_flight += 1;
        Some(Message {
            events,
            headers,
            answers,
        })
    }

    fn has_full_message(&self) -> bool {
        let (mut count, mut bytes) = (0, 0);
        self.waiting.values().any(|frame| {
            count += frame.events.len();
            bytes += frame.events.bytes();
            count * 100 >= MAX_FRAME_EVENTS * FULL_ENOUGH_PERCENT
                || bytes * 100 >= MAX_FRAME_BYTES * FULL_ENOUGH_PERCENT
        })
    }
}

#[cfg(test)]
mod tests;
