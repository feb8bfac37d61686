//! The events of one run. Each has an id derived from the run, its number and its time. Only the
//! program's output is content; our own fields are metadata.

use std::{ffi::OsString, os::unix::process::ExitStatusExt as _, process::ExitStatus};

use event::Timestamp;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::{chunks::Chunk, passthrough::Channel};
use crate::new_event::{Content, NewEvent, derived_id};

/// Builder of the events of one run; each method returns the event as a line of JSON.
#[derive(Debug)]
pub(super) struct RunEvents {
    conversation: String,
    task: Option<String>,
    run: Uuid,
    next: u64,
}

#[derive(Serialize)]
struct StartedMetadata<'a> {
    run_id: Uuid,
    command: Vec<std::borrow::Cow<'a, str>>,
    pid: u32,
}

#[derive(Serialize)]
struct OutputMetadata {
    stream: &'static str,
}

#[derive(Serialize)]
struct ExitedMetadata {
    run_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    duration_ms: u128,
}

impl RunEvents {
    pub(super) fn new(conversation: String, task: Option<String>) -> Self {
        Self {
            conversation,
            task,
            run: Uuid::now_v7(),
            next: 0,
        }
    }

    pub(super) fn started(&mut self, command: &[OsString], pid: u32, at: Timestamp) -> String {
        let command: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
        let metadata = StartedMetadata {
            run_id: self.run,
            command,
            pid,
        };
        self.line("run.started", b"", at, &metadata)
    }

    pub(super) fn output(&mut self, channel: Channel, chunk: &Chunk) -> String {
        let metadata = OutputMetadata {
            stream: channel.name(),
        };
        self.line("output.chunk", &chunk.bytes, chunk.at, &metadata)
    }

    pub(super) fn exited(&mut self, status: ExitStatus, from: Timestamp, to: Timestamp) -> String {
        let metadata = ExitedMetadata {
            run_id: self.run,
            exit_code: status.code(),
            signal: status.signal(),
            duration_ms: to.since(from).as_millis(),
        };
        self.line("run.exited", b"", to, &metadata)
    }

    fn line(
        &mut self,
        event_type: &str,
        content: &[u8],
        at: Timestamp,
        metadata: &impl Serialize,
    ) -> String {
        let number = self.next;
        self.next += 1;
        let metadata: Box<RawValue> =
            to_raw_value(metadata).expect("plain fields always have a JSON form");
        let event = NewEvent {
            event_id: derived_id(Some(at), &[self.run.as_bytes(), &number.to_le_bytes()])
                .to_string(),
            conversation_id: &self.conversation,
            task_id: self.task.as_deref(),
            event_type,
            timestamp: Some(at.to_string()),
            content: Content::new(content),
            metadata: Some(metadata),
        };
        event.json_line()
    }
}
