//! One request becomes frames, or the list of what is wrong with it. Pure: the time and new ids
//! are arguments, and nothing is stored here.

mod conversations;
mod frames;
mod item;
mod metadata;
mod split;
mod validate;

use axum::http::StatusCode;
use bytes::Bytes;
use event::{
    ConversationId, EventId, MAX_EVENT_BYTES, PartitionCount, PartitionId, TenantId, Timestamp,
};
use event_proto::Identity;

use crate::problem::{BadItem, MAX_LISTED, Problem};

pub(crate) use split::Format;

/// Most events in one request: memory is bounded even when each is tiny.
pub(crate) const MAX_ITEMS: usize = 100_000;
/// Most refused items that a partial answer names.
const MAX_REJECTED: usize = 10_000;

/// What is known of a request besides its body.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) tenant: TenantId,
    /// The conversation of the path.
    pub(crate) conversation: Option<ConversationId>,
    pub(crate) format: Format,
    /// Store the good items although some are bad.
    pub(crate) partial: bool,
    /// For events that name no trace of their own.
    pub(crate) trace: Option<Trace>,
    pub(crate) now: Timestamp,
    pub(crate) new_id: fn() -> EventId,
    pub(crate) partitions: PartitionCount,
}

/// The trace and span that a `traceparent` header speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
}

/// A message for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) partition: PartitionId,
    pub(crate) message_id: String,
    pub(crate) payload: Bytes,
    pub(crate) events: usize,
}

/// Where an accepted item went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) index: usize,
    pub(crate) event_id: EventId,
    pub(crate) frame: usize,
    pub(crate) idx: u16,
    /// The request has it twice; this is the place of the first.
    pub(crate) repeated: bool,
}

/// What a request asks to store.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    pub(crate) frames: Vec<Frame>,
    pub(crate) placed: Vec<Placed>,
    pub(crate) rejected: Vec<BadItem>,
    /// How many were rejected, also those that are not listed.
    pub(crate) rejected_total: usize,
}

/// Why an item is bad.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bad {
    code: &'static str,
    detail: String,
}

impl Bad {
    fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

/// Decides about a whole body, already decompressed.
pub(crate) fn accept(context: &Context, body: &[u8]) -> Result<Accepted, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        Problem::bad_request(
            "invalid_utf8",
            format!("the body is not UTF-8: byte {at} is wrong; send bytes as base64"),
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_ascii().is_empty() {
        return Err(Problem::bad_request(
            "empty_body",
            "the body is empty; send a JSON object, an array of them, or one per line",
        ));
    }
    let mut request = Request::new(context, text.len());
    split::each_item(context.format, context.partial, text, &mut |item| {
        request.add(item)
    })?;
    request.finish()
}

struct Request<'c> {
    context: &'c Context,
    conversations: conversations::Conversations,
    packer: frames::Packer,
    /// For one event at a time.
    buffer: Vec<u8>,
    items: usize,
    rejected: Vec<BadItem>,
    rejected_total: usize,
}

impl<'c> Request<'c> {
    /// For a body of `bytes`.
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

    fn add(&mut self, item: Result<item::Item<'_>, Bad>) -> Result<(), Problem> {
        let index = self.items;
        self.items += 1;
        if self.items > MAX_ITEMS {
            return Err(Problem::too_large(
                "too_many_events",
                format!("a request holds at most {MAX_ITEMS} events; send them in parts"),
            ));
        }
        if let Err(bad) = item.and_then(|item| self.pack(index, item)) {
            self.reject(index, bad);
        }
        Ok(())
    }

    fn pack(&mut self, index: usize, item: item::Item<'_>) -> Result<(), Bad> {
        let valid = validate::event(self.context, &mut self.conversations, item)?;
        let sent = valid.as_sent().encode_into(&mut self.buffer);
        let identity = Identity {
            id: valid.event_id,
            checksum: sent.crc32c,
        };
        let encoded = match valid.filled_in(self.context) {
            None => sent,
            Some(event) => event.encode_into(&mut self.buffer),
        };
        let bytes = encoded.bytes.len();
        if bytes > MAX_EVENT_BYTES {
            return Err(Bad::new(
                "event_too_large",
                format!(
                    "the event has {bytes} bytes, at most {MAX_EVENT_BYTES} are allowed; split its content"
                ),
            ));
        }
        let id = self.conversations.id(valid.conversation);
        let conversation = (valid.conversation, id);
        self.packer.push(index, identity, conversation, encoded);
        Ok(())
    }

    fn reject(&mut self, index: usize, bad: Bad) {
        self.rejected_total += 1;
        let listed = match self.context.partial {
            true => MAX_REJECTED,
            false => MAX_LISTED,
        };
        if self.rejected.len() < listed {
            let Bad { code, detail } = bad;
            self.rejected.push(BadItem {
                index,
                code,
                detail,
            });
        }
    }

    fn finish(mut self) -> Result<Accepted, Problem> {
        let all_bad = self.rejected_total == self.items;
        if self.rejected_total > 0 && (all_bad || !self.context.partial) {
            self.rejected.truncate(MAX_LISTED);
            return Err(Problem::bad_items(self.rejected, self.rejected_total));
        }
        let (frames, placed) = self.packer.finish();
        Ok(Accepted {
            frames,
            placed,
            rejected: self.rejected,
            rejected_total: self.rejected_total,
        })
    }
}

impl Problem {
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
