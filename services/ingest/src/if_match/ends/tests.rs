use event::PartitionId;

use super::*;

const NO_LIMIT: usize = usize::MAX;

fn at(seq: Seq, idx: u16) -> Position {
    Position::new(PartitionId::first(0), seq, idx)
}

/// The message `seq` with an event of each of `conversations`, or one that cannot be read.
fn message(seq: Seq, conversations: Option<&[&str]>) -> IndexedMessage {
    let last = |names: &[&str]| {
        names
            .iter()
            .map(|name| NameHash::of(name))
            .zip(0..)
            .collect()
    };
    IndexedMessage {
        seq,
        id: NameHash::of(&format!("m{seq}")),
        last: conversations.map(last),
    }
}

/// The index of these messages, from sequence 5 on.
fn index(messages: &[Option<&[&str]>]) -> ConversationEnds {
    let mut ends = ConversationEnds::starting_at(5);
    for (seq, conversations) in (5..).zip(messages) {
        ends.push_newest(message(seq, *conversations), NO_LIMIT);
    }
    ends
}

/// Where `a` ends for the message `id`.
fn end(ends: &ConversationEnds, expected: Position, id: &str) -> ConversationEnd {
    ends.end(NameHash::of("a"), expected, NameHash::of(id))
}

#[test]
fn a_conversation_ends_at_its_last_event_whatever_others_append() {
    let ends = index(&[Some(&["b", "a"]), Some(&["b"]), Some(&["a"]), Some(&["c"])]);
    assert_eq!(end(&ends, at(7, 0), "new"), ConversationEnd::Expected);
    let elsewhere = ConversationEnd::Elsewhere(Some(at(7, 0)));
    for expected in [at(5, 0), at(5, 1), at(6, 0), at(7, 1), at(8, 0)] {
        assert_eq!(end(&ends, expected, "new"), elsewhere, "{expected}");
    }
    let other = ends.end(NameHash::of("x"), at(5, 0), NameHash::of("new"));
    assert_eq!(other, ConversationEnd::Elsewhere(None));
}

#[test]
fn a_retry_is_the_same_message_right_behind_its_position() {
    let ends = index(&[Some(&["a"]), Some(&["b"]), Some(&["a"]), Some(&["a"])]);
    assert_eq!(end(&ends, at(5, 0), "m7"), ConversationEnd::Stored(7));
    let elsewhere = ConversationEnd::Elsewhere(Some(at(8, 0)));
    assert_eq!(end(&ends, at(5, 0), "m8"), elsewhere);
    assert_eq!(end(&ends, at(5, 0), "other"), elsewhere);
}

#[test]
fn a_message_that_cannot_be_read_leaves_an_end_before_it_unknown_until_it_is_passed_over() {
    let mut ends = index(&[Some(&["a"]), None, Some(&["b"])]);
    assert_eq!(end(&ends, at(5, 0), "new"), ConversationEnd::Unreadable(6));
    assert_eq!(end(&ends, at(6, 0), "new"), ConversationEnd::Unreadable(6));
    ends.push_newest(message(8, Some(&["a"])), NO_LIMIT);
    let elsewhere = ConversationEnd::Elsewhere(Some(at(8, 0)));
    assert_eq!(end(&ends, at(5, 0), "new"), elsewhere);
    assert_eq!(end(&ends, at(8, 0), "new"), ConversationEnd::Expected);
    let mut ends = index(&[Some(&["a"]), None]);
    ends.pass_over(6);
    assert_eq!(end(&ends, at(5, 0), "new"), ConversationEnd::Expected);
}

#[test]
fn older_messages_are_added_before_newer_ones() {
    let mut ends = index(&[Some(&["a"])]);
    ends.push_oldest(message(4, Some(&["a", "b"])), NO_LIMIT);
    assert_eq!((ends.first(), ends.last()), (4, 5));
    assert_eq!(end(&ends, at(4, 0), "m5"), ConversationEnd::Stored(5));
}

#[test]
fn the_oldest_messages_make_room_and_are_not_read_again() {
    let room_for_two = 2 * (MESSAGE_BYTES + CONVERSATION_BYTES);
    let mut ends = ConversationEnds::starting_at(5);
    for seq in 5..10 {
        ends.push_newest(message(seq, Some(&["a"])), room_for_two);
    }
    assert_eq!((ends.first(), ends.last()), (8, 9));
    assert_eq!(ends.bytes(), room_for_two);
    assert!(ends.may_reach(8) && !ends.may_reach(7));
    let mut full = index(&[Some(&["a"]), Some(&["a"])]);
    full.push_oldest(message(4, Some(&["a"])), room_for_two);
    assert!(full.first() == 5 && !full.may_reach(4));
    let many: Vec<Option<&[&str]>> = vec![None; 10_010];
    let many = index(&many);
    assert_eq!(many.first(), 15);
    assert_eq!(many.unreadable.len(), 10_000);
}

#[test]
fn an_older_message_behind_one_without_room_is_left_out_too() {
    let room = 3 * (MESSAGE_BYTES + CONVERSATION_BYTES);
    let mut ends = index(&[Some(&["b"])]);
    ends.push_oldest(message(4, Some(&["a", "b", "c", "d"])), room);
    ends.push_oldest(message(3, Some(&["a"])), room);
    assert_eq!((ends.first(), ends.may_reach(4)), (5, false));
    assert_eq!(
        end(&ends, at(3, 0), "new"),
        ConversationEnd::Elsewhere(None)
    );
}
