use event::{ConversationId, Event, EventId, EventType, PartitionId, TenantId, Timestamp};
use event_proto::EncodedEvent;

use super::*;

/// A frame of `events` events of `bytes` of content each.
fn frame(name: &'static str, events: usize, bytes: usize) -> Waiting<&'static str> {
    let mut builder = FrameBuilder::new(TenantId::default_tenant(), PartitionId::first(0), 0);
    let id = ConversationId::new(name).unwrap();
    let conversation = builder.conversation(&id);
    for n in 0..events {
        let event = Event {
            event_id: EventId::from_u128(n as u128),
            tenant: TenantId::default_tenant(),
            conversation_id: id.clone(),
            task_id: None,
            event_type: EventType::new("t").unwrap(),
            timestamp: Timestamp::from_micros(0),
            content: "x".repeat(bytes),
            content_encoding: event::ContentEncoding::Utf8,
            metadata: String::new(),
            correlation_id: None,
            trace_id: None,
            span_id: None,
        };
        let encoded = EncodedEvent::encode(&event);
        builder.push(
            encoded.identity(event.event_id),
            conversation,
            encoded.as_encoded(),
        );
    }
    Waiting {
        events: builder,
        headers: [("of".to_owned(), name.to_owned())].into(),
        answer: name,
    }
}

fn answers(message: Option<Message<&'static str>>) -> Vec<(u16, &'static str)> {
    message.map(|message| message.answers).unwrap_or_default()
}

#[test]
fn a_frame_goes_at_once_when_nothing_is_on_its_way() {
    let mut queue = Queue::default();
    queue.push(frame("a", 1, 10));
    assert_eq!(answers(queue.next_message()), [(0, "a")]);
    assert!(queue.next_message().is_none());
}

#[test]
fn what_comes_while_a_message_is_on_its_way_shares_the_next() {
    let mut queue = Queue::default();
    queue.push(frame("a", 1, 10));
    queue.next_message().unwrap();
    for (name, events) in [("b", 2), ("c", 3), ("d", 1)] {
        queue.push(frame(name, events, 10));
        assert!(queue.next_message().is_none(), "{name} waits");
    }
    queue.acknowledged();
    let message = queue.next_message().unwrap();
    assert_eq!(message.events.len(), 6);
    assert_eq!(message.headers[0].1, "b");
    assert_eq!(message.answers, [(0, "b"), (2, "c"), (5, "d")]);
}

#[test]
fn a_full_message_does_not_wait_for_the_one_before_it() {
    let mut queue = Queue::default();
    queue.push(frame("a", 1, 10));
    queue.next_message().unwrap();
    queue.push(frame("many", MAX_FRAME_EVENTS / 2, 10));
    assert_eq!(answers(queue.next_message()), [(0, "many")]);
    queue.push(frame("large", 1, MAX_FRAME_BYTES / 2));
    assert_eq!(answers(queue.next_message()), [(0, "large")]);
}

#[test]
fn frames_that_do_not_fit_together_keep_their_order() {
    let mut queue = Queue::default();
    queue.push(frame("a", 300, 10));
    queue.push(frame("b", 300, 10));
    queue.push(frame("c", 1, 10));
    assert_eq!(answers(queue.next_message()), [(0, "a")]);
    assert_eq!(answers(queue.next_message()), [(0, "b"), (300, "c")]);
}

#[test]
fn so_many_messages_are_on_their_way_and_no_more() {
    let mut queue = Queue::default();
    for _ in 0..2 * MAX_IN_FLIGHT {
        queue.push(frame("a", MAX_FRAME_EVENTS, 10));
    }
    let mut sent = 0;
    while queue.next_message().is_some() {
        sent += 1;
    }
    assert_eq!(sent, MAX_IN_FLIGHT);
    queue.acknowledged();
    assert!(queue.next_message().is_some());
}

#[test]
fn a_frame_that_is_withdrawn_is_not_sent_and_the_others_keep_their_order() {
    let mut queue = Queue::default();
    let sent = queue.push(frame("sent", 1, 10));
    queue.next_message().unwrap();
    assert!(queue.withdraw(sent).is_none(), "it is on its way");
    let tickets = ["a", "b", "c", "d", "e"].map(|name| queue.push(frame(name, 1, 10)));
    for given_up in [0, 2] {
        assert!(queue.withdraw(tickets[given_up]).is_some());
    }
    queue.acknowledged();
    assert_eq!(
        answers(queue.next_message()),
        [(0, "b"), (1, "d"), (2, "e")]
    );
}

#[test]
fn frames_that_are_withdrawn_do_not_make_a_message_full() {
    let mut queue = Queue::default();
    queue.push(frame("a", 1, 10));
    queue.next_message().unwrap();
    queue.push(frame("small", 1, 10));
    let large = queue.push(frame("large", MAX_FRAME_EVENTS / 2, 10));
    queue.withdraw(large).unwrap();
    assert!(queue.next_message().is_none());
}
