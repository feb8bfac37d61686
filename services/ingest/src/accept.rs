//! Turns one request body into frames, or into a problem that lists its bad items. Pure: the time and new
//! ids are arguments, and no IO is done.

mod conversations;
mod frames;
mod item;
mod metadata;
mod split;
mod validate;

use axum::http::StatusCode;
use event::{
    ConversationId, EventId, MAX_EVENT_BYTES, PartitionCount, PartitionId, TenantId, Timestamp,
};
use event_proto::{FrameBuilder, Identity};

use crate::problem::{BadItem, MAX_LISTED, Problem};

pub(crate) use split::Format;

/// Most events in one request. No reason for the number but to bound memory when each event is tiny.
pub(crate) const MAX_ITEMS: usize = 100_000;
/// Most rejected items that the response to a partial request lists. No reason but to bound its size.
const MAX_REJECTED: usize = 10_000;

/// The properties of a request apart from its body.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) tenant: TenantId,
    /// The conversation that the path names.
    pub(crate) conversation: Option<ConversationId>,
    pub(crate) format: Format,
    /// Store the valid items even when others are bad.
    pub(crate) partial: bool,
    /// The default for events without a trace of their own.
    pub(crate) trace: Option<Trace>,
    /// The default timestamp.
    pub(crate) now: Timestamp,
    /// Makes the id of an event that has none.
    pub(crate) new_id: fn() -> EventId,
    pub(crate) partitions: PartitionCount,
}

/// The trace and span ids of a `traceparent` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
}

/// A frame that is not encoded yet: the log may get it in one message with frames of other requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) partition: PartitionId,
    pub(crate) events: FrameBuilder,
}

/// The frame and index at which an accepted item is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ItemPlacement {
    /// The index of the item in the request.
    pub(crate) index: usize,
    pub(crate) event_id: EventId,
    /// The index into [`Accepted::frames`].
    pub(crate) frame: usize,
    pub(crate) idx: u16,
    /// The item repeats an earlier one of the request, whose frame and index these are.
    pub(crate) repeated: bool,
}

/// The frames that a request stores, and its rejected items.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    pub(crate) frames: Vec<Frame>,
    pub(crate) placements: Vec<ItemPlacement>,
    pub(crate) rejected: Vec<BadItem>,
    /// The number of rejected items, including those that are not listed.
    pub(crate) rejected_total: usize,
}

/// The reason why an item is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ItemError {
    code: &'static str,
    detail: String,
}

impl ItemError {
    fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }

    /// The error of an event of `bytes`, or of one with a part of so many.
    fn too_large(bytes: usize) -> Self {
        let detail = format!(
            "the event has {bytes} bytes, at most {MAX_EVENT_BYTES} are allowed; split its content"
        );
        Self::new("event_too_large", detail)
    }
}

/// Parses, validates and packs a decompressed body.
pub(crate) fn accept(context: &Context, body: &[u8]) -> Result<Accepted, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Problem::bad_request(
            "invalid_utf8",
            match body.starts_with(b"\xff\xfe") || body.starts_with(b"\xfe\xff") {
                true => "the body is UTF-16; send it as UTF-8".to_owned(),
                false => format!("the body is not UTF-8: byte {at} is wrong; send bytes as base64"),
            },
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_ascii().is_empty() {
        return Err(Problem::bad_request(
            "empty_body",
            "the body is empty; send a JSON object, an array of them, or one per line",
        ));
    }
    let mut request = RequestPacker::new(context, text.len());
    split::each_item(context.format, context.partial, text, &mut |item| {
        request.add(item)
    })?;
    request.finish()
}

/// The state of a request while its items are added.
struct RequestPacker<'c> {
    context: &'c Context,
    conversations: conversations::Conversations,
    packer: frames::Packer,
    /// The encoding of the current event.
    buffer: Vec<u8>,
    items: usize,
    rejected: Vec<BadItem>,
    rejected_total: usize,
}

impl<'c> RequestPacker<'c> {
    /// A packer for a body of `bytes`.
    fn new(context: &'c Context, bytes: usize) -> Self {
        Self {
            context,
            conversations: conversations::Conversations::default(),
            packer: frames::Packer::new(context.tenant.clone(), context.partitions, bytes),
            buffer: Vec::new(),
            items: 0,
            rejected: Vec::new(),
            rejected_total: 0,
        }
    }

    /// Adds the next item, or its error.
    fn add(&mut self, item: Result<item::Item<'_>, ItemError>) -> Result<(), Problem> {
        let index = self.items;
        self.items += 1;
        if self.items > MAX_ITEMS {
            return Err(Problem::too_large(
                "too_many_events",
                format!("a request holds at most {MAX_ITEMS} events; send them in parts"),
            ));
        }
        if let Err(error) = item.and_then(|item| self.pack(index, item)) {
            self.reject(index, error);
        }
        Ok(())
    }

    /// Validates and encodes an item, and adds it to a frame.
    fn pack(&mut self, index: usize, item: item::Item<'_>) -> Result<(), ItemError> {
        let valid = validate::event(self.context, &mut self.conversations, item)?;
        // The identity is that of the event as it was sent, so that a retry has the same one.
        let sent = valid.as_sent().encode_into(&mut self.buffer);
        let identity = Identity {
            id: valid.event_id,
            checksum: sent.crc32c,
        };
        let encoded = match valid.with_defaults(self.context) {
            None => sent,
            Some(event) => event.encode_into(&mut self.buffer),
        };
        let bytes = encoded.bytes.len();
        if bytes > MAX_EVENT_BYTES {
            return Err(ItemError::too_large(bytes));
        }
        let id = self.conversations.id(valid.conversation);
        let conversation = (valid.conversation, id);
        self.packer.push(index, identity, conversation, encoded);
        Ok(())
    }

    /// Counts a rejected item, and lists it while there is room.
    fn reject(&mut self, index: usize, error: ItemError) {
        self.rejected_total += 1;
        let max_listed = match self.context.partial {
            true => MAX_REJECTED,
            false => MAX_LISTED,
        };
        if self.rejected.len() < max_listed {
            let ItemError { code, detail } = error;
            self.rejected.push(BadItem {
                index,
                code,
                detail,
            });
        }
    }

    /// The frames, or the problem when an item was rejected and `partial` does not allow it.
    fn finish(mut self) -> Result<Accepted, Problem> {
        let all_bad = self.rejected_total == self.items;
        if self.rejected_total > 0 && (all_bad || !self.context.partial) {
            self.rejected.truncate(MAX_LISTED);
            return Err(Problem::bad_items(self.rejected, self.rejected_total));
        }
        let (frames, placements) = self.packer.finish();
        Ok(Accepted {
            frames,
            placements,
            rejected: self.rejected,
            rejected_total: self.rejected_total,
        })
    }
}

impl Problem {
    /// A body that is not valid JSON at `line` and `column`.
    fn malformed(detail: &str, line: usize, column: usize) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed_json",
            format!("the body is not valid JSON: {detail} at line {line} column {column}"),
        )
    }
}

#[cfg(test)]
mod tests;
