//! Decodes messages of the log into frames for the warm tier. Pure.

use event::{Position, SeqRange, StoredEvent};
use event_log::LogMessage;
use event_proto::Frame;
use warm_tier::Frames;

/// Most events of one transaction, unless one message has more. No reason but to bound memory.
const MAX_BATCH_EVENTS: usize = 10_000;
/// Most message bytes of one transaction, unless one message is larger. No reason but to bound memory.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Splits consecutive `messages` into batches, each for one transaction. A message with an event that
/// cannot be decoded or does not match its checksum becomes a dead letter; its other events are kept.
pub(crate) fn batches(messages: Vec<LogMessage>) -> Vec<Frames> {
    let mut batches: Vec<Frames> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let full =
            |batch: &Frames| batch.events.len() >= MAX_BATCH_EVENTS || bytes >= MAX_BATCH_BYTES;
        if batches.last().is_none_or(full) {
            batches.push(Frames {
                range: SeqRange {
                    lo: message.seq,
                    hi: message.seq,
                },
                events: Vec::new(),
                dead_letters: Vec::new(),
                encoded_bytes: 0,
            });
            bytes = 0;
        }
        bytes += message.payload.len();
        let batch = batches.last_mut().expect("one has just been pushed");
        batch.range.hi = message.seq;
        add_message(batch, message);
    }
    batches
}

/// Adds the events of `message` to `batch`, or the message to its dead letters, or both.
fn add_message(batch: &mut Frames, message: LogMessage) {
    let Ok(frame) = Frame::decode(message.payload.clone()) else {
        batch.dead_letters.push((message.seq, message.payload));
        return;
    };
    let mut is_complete = true;
    for (idx, framed) in frame.events.iter().enumerate() {
        let Ok(event) = framed.encoded.decode(&frame.tenant) else {
            is_complete = false;
            continue;
        };
        let idx = u16::try_from(idx).expect("a frame has at most 500 events");
        batch.encoded_bytes += framed.encoded.bytes.len() as u64;
        batch.events.push(StoredEvent {
            event,
            position: Position::new(message.partition, message.seq, idx),
            received_at: message.received_at,
            crc32c: framed.encoded.crc32c,
            sample_rate: 1.0,
        });
    }
    if !is_complete {
        batch.dead_letters.push((message.seq, message.payload));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use event::{
        ContentEncoding, ConversationId, Event, EventId, EventType, PartitionId, TenantId,
        Timestamp,
    };
    use event_proto::{EncodedEvent, FrameBuilder};

    use super::*;

    const PARTITION: PartitionId = PartitionId::first(0);

    fn event(number: u128) -> Event {
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

    fn message(seq: u64, payload: Bytes) -> LogMessage {
        LogMessage {
            partition: PARTITION,
            seq,
            received_at: Timestamp::from_micros(5),
            payload,
            headers: Vec::new(),
        }
    }

    fn frame(count: u128, damaged: Option<u128>) -> Bytes {
        let mut builder = FrameBuilder::new(TenantId::default_tenant(), PARTITION, 0);
        for number in 0..count {
            let event = event(number);
            let mut encoded = EncodedEvent::encode(&event);
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
    fn a_transaction_has_about_ten_thousand_events() {
        let messages = (1..=50).map(|seq| message(seq, frame(500, None)));

        let batches = batches(messages.collect());

        let cuts: Vec<_> = (batches.iter())
            .map(|batch| (batch.range.lo, batch.range.hi, batch.events.len()))
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

        let batch = batches(messages).remove(0);

        let kept: Vec<_> = batch.events.iter().map(|e| e.position.offset()).collect();
        assert_eq!(kept, [(1, 0), (1, 1), (1, 2), (3, 0), (3, 2)]);
        let dead: Vec<_> = batch.dead_letters.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(dead, [2, 3]);
        assert_eq!(batch.dead_letters[0].1, garbage);
    }
}
