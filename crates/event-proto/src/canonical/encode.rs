//! The canonical form, written field by field: protobuf with the fields in the order of their
//! tags and without defaults. Not written by the generated code, because that needs owned fields,
//! one allocation each; a test compares the two.

use event::ContentEncoding;

use super::EventRef;

/// The wire types of protobuf.
const VARINT_WIRE_TYPE: u8 = 0;
const LENGTH_DELIMITED_WIRE_TYPE: u8 = 2;

/// Appends the canonical bytes of `event` to `out`.
pub(super) fn event(event: &EventRef<'_>, out: &mut Vec<u8>) {
    bytes(1, event.event_id.as_bytes(), out);
    text(2, event.conversation_id, out);
    optional(3, event.task_id, out);
    text(4, event.event_type, out);
    number(5, event.timestamp.as_micros().cast_unsigned(), out);
    text(6, event.content, out);
    let encoding = match event.content_encoding {
        ContentEncoding::Utf8 => 0,
        ContentEncoding::Base64 => 1,
    };
    number(7, encoding, out);
    text(8, event.metadata, out);
    optional(9, event.correlation_id, out);
    optional(10, event.trace_id, out);
    optional(11, event.span_id, out);
}

/// Writes a field that is omitted if it is empty.
fn text(tag: u8, value: &str, out: &mut Vec<u8>) {
    if !value.is_empty() {
        bytes(tag, value.as_bytes(), out);
    }
}

/// Writes a field that is omitted if it is `None`, but not if it is empty.
fn optional(tag: u8, value: Option<&str>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        bytes(tag, value.as_bytes(), out);
    }
}

fn bytes(tag: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(tag << 3 | LENGTH_DELIMITED_WIRE_TYPE);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Writes a field that is omitted if it is 0.
fn number(tag: u8, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        out.push(tag << 3 | VARINT_WIRE_TYPE);
        varint(value, out);
    }
}

/// Writes 7 bits per byte, the lowest first; the high bit is set in every byte but the last.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
