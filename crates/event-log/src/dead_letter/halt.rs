//! The reasons for which a consumer stops before a frame instead of passing over it.

use std::time::Duration;

use event::Seq;

use super::Flood;

/// The time after which a halted consumer tries again.
pub const HALT_RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// A consumer of one partition stops before a frame, and says what a person must do. The process and
/// its other partitions go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    #[error(
        "stopped before frame {seq}: a later version of Isotherm wrote it, in format version \
         {version}, which this version cannot read; roll forward to that version"
    )]
    Version { seq: Seq, version: u32 },
    #[error(
        "stopped before frame {seq}: {flood}; find out who writes to the log, look at them with \
         `isotherm dlq list`, and start with --accept-dead-letters to pass over all of them"
    )]
    Flood { seq: Seq, flood: Flood },
}
