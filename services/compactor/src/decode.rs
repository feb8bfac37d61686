//! Decodes messages of the log into frames for the warm tier. Pure.

use event::{Position, SeqRange, StoredEvent};
use event_log::{DeadLetter, FloodGuard, Halt, LogMessage};
use event_proto::{FrameContents, UnknownVersion};
use warm_tier::Frames;

/// Most events of one batch, unless one message has more. No reason but to bound memory.
const MAX_BATCH_EVENTS: usize = 10_000;
/// Most message bytes of one batch, unless one message is larger. No reason but to bound memory.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Frames that are appended together, and those of them that are dead letters.
pub(crate) struct Batch {
    pub(crate) frames: Frames,
    /// To be stored before the frames are appended, because that moves the offset past them.
    pub(crate) dead_letters: Vec<DeadLetter>,
}

/// The batches of consecutive messages, and why there are none of the rest.
pub(crate) struct Decoded {
    pub(crate) batches: Vec<Batch>,
    pub(crate) halt: Option<Halt>,
}

/// Splits consecutive `messages` into batches. A message with an event that
/// cannot be decoded or is not valid becomes a dead letter; its other events are kept. Stops before a
/// message of a later version, and where `guard` finds too many dead letters.
pub(crate) fn batches(messages: Vec<LogMessage>, guard: &mut FloodGuard) -> Decoded {
    let mut batches: Vec<Batch> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let seq = message.seq;
        let contents = match FrameContents::read(message.payload.clone()) {
            Ok(contents) => contents,
            Err(UnknownVersion(version)) => {
                let halt = Some(Halt::Version { seq, version });
                return Decoded { batches, halt };
            }
        };
        if let Err(flood) = guard.admit(seq, contents.damage.is_some()) {
            let halt = Some(Halt::Flood { seq, flood });
            return Decoded { batches, halt };
        }
        let full = |batch: &Batch| {
            batch.frames.events.len() >= MAX_BATCH_EVENTS || bytes >= MAX_BATCH_BYTES
        };
        if batches.last().is_none_or(full) {
            batches.push(Batch::starting_at(seq));
            bytes = 0;
        }
        bytes += message.payload.len();
        let batch = batches.last_mut().expect("one has just been pushed");
        batch.add(message, contents);
    }
    let halt = None;
    Decoded { batches, halt }
}

impl Batch {
    fn starting_at(seq: u64) -> Self {
        Self {
            frames: Frames {
                range: SeqRange { lo: seq, hi: seq },
                events: Vec::new(),
                dead_letters: Vec::new(),
            },
            dead_letters: Vec::new(),
        }
    }

    /// Adds the events of `message`, or the message to the dead letters, or both.
    fn add(&mut self, message: LogMessage, contents: FrameContents) {
        let frames = &mut self.frames;
        frames.range.hi = message.seq;
        for readable in contents.events {
            frames.events.push(StoredEvent {
                event: readable.event,
                position: Position::new(message.partition, message.seq, readable.idx),
                received_at: message.received_at,
                crc32c: readable.encoded.crc32c,
                sample_rate: 1.0,
            });
        }
        if let Some(damage) = contents.damage {
            frames.dead_letters.push(message.seq);
            self.dead_letters.push(DeadLetter {
                position: Position::new(message.partition, message.seq, 0),
                received_at: message.received_at,
                reason: damage.to_string(),
                tenant: contents.tenant,
                payload: message.payload,
            });
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use event::{
        ContentEncoding, ConversationId, Event, EventId, EventType, PartitionId, TenantId,
        Timestamp,
    };
    use event_proto::{EncodedEvent, FrameBuilder};

    use super::*;

    const PARTITION: PartitionId = PartitionId::first(0);

    pub(crate) fn event(number: u128) -> Event {
        Event {
            event_id: EventId::from_u128(number),
            tenant: TenantId::default_tenant(),
            conversation_id: ConversationId::new("c").unwrap(),
            task_id: None,
            event_type: EventType::new("output.chunk").unwrap(),
            timestamp: Timestamp::from_micros(1),
            content: "x".repeat(100),
            content_encoding: ContentEncoding::Utf8,
            metadata: String::new(),
            correlation_id: None,
            trace_id: None,
            span_id: None,
        }
    }

    pub(crate) fn message(seq: u64, payload: Bytes) -> LogMessage {
        LogMessage {
            partition: PARTITION,
            seq,
            received_at: Timestamp::from_micros(5),
            message_id: String::new(),
            payload,
            headers: Vec::new(),
        }
    }

    fn frame(count: u128, damaged: Option<u128>) -> Bytes {
        let events: Vec<_> = (0..count).map(event).collect();
        frame_of(&events, damaged)
    }

    pub(crate) fn frame_of(events: &[Event], damaged: Option<u128>) -> Bytes {
        let mut builder = FrameBuilder::new(TenantId::default_tenant(), PARTITION, 0);
        for (number, event) in (0..).zip(events) {
            let mut encoded = EncodedEvent::encode(event);
            if damaged == Some(number) {
                encoded.crc32c ^= 1;
            }
            let identity = encoded.identity(event.event_id);
            let conversation = builder.conversation(&event.conversation_id);
            builder.push(identity, conversation, encoded.as_encoded());
        }
        builder.encode()
    }

    #[test]
    fn a_batch_has_about_ten_thousand_events() {
        let messages = (1..=50).map(|seq| message(seq, frame(500, None)));

        let decoded = batches(messages.collect(), &mut FloodGuard::default());

        let frames = decoded.batches.iter().map(|batch| &batch.frames);
        let cuts: Vec<_> = frames
            .map(|frames| (frames.range.lo, frames.range.hi, frames.events.len()))
            .collect();
        assert_eq!(cuts, [(1, 20, 10_000), (21, 40, 10_000), (41, 50, 5_000)]);
    }

    #[test]
    fn what_cannot_be_decoded_is_a_dead_letter_and_the_rest_is_kept() {
        let garbage = Bytes::from_static(b"garbage");
        let messages = vec![
            message(1, frame(3, None)),
            message(2, garbage.clone()),
            message(3, frame(3, Some(1))),
        ];

        let mut decoded = batches(messages, &mut FloodGuard::default());

        let batch = decoded.batches.remove(0);
        let kept = batch.frames.events.iter().map(|e| e.position.offset());
        let kept: Vec<_> = kept.collect();
        assert_eq!(kept, [(1, 0), (1, 1), (1, 2), (3, 0), (3, 2)]);
        let letters = batch.dead_letters;
        let dead: Vec<_> = letters.iter().map(|letter| letter.position.seq).collect();
        assert_eq!(dead, [2, 3]);
        assert_eq!((&letters[0].payload, &letters[0].tenant), (&garbage, &None));
        assert_eq!(letters[1].tenant, Some(TenantId::default_tenant()));
        assert!(
            letters[1].reason.contains("event 1"),
            "{}",
            letters[1].reason
        );
        assert_eq!(decoded.halt, None);
    }

    #[test]
    fn it_stops_before_a_later_version_and_before_the_eleventh_dead_letter_in_a_row() {
        // A frame of version 2: field 1, a number.
        let later = Bytes::from_static(&[8, 2]);
        let decoded = batches(
            vec![message(1, frame(3, None)), message(2, later)],
            &mut FloodGuard::default(),
        );
        assert_eq!(decoded.batches[0].frames.range.hi, 1);
        assert_eq!(decoded.halt, Some(Halt::Version { seq: 2, version: 2 }));

        let garbage = (1..=20).map(|seq| message(seq, Bytes::from_static(b"garbage")));
        let decoded = batches(garbage.collect(), &mut FloodGuard::default());
        assert_eq!(decoded.batches[0].frames.range.hi, 10);
        let expected = matches!(decoded.halt, Some(Halt::Flood { seq: 11, .. }));
        assert!(expected, "{:?}", decoded.halt);
    }
}
