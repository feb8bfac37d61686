//! The time by which ages are counted: the log's clock, which gives every event its `received_at`.

use std::time::Duration;

use event::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;
use tracing::warn;

use crate::{
    bucket,
    clock::ClockReading,
    error::{Error, Result},
    log::EventLog,
};

/// A difference of the two clocks from which on it is logged. No reason for the number but that an age
/// is never so short.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// What the server says about a stream: only its time is read.
#[derive(Deserialize)]
struct StreamTime {
    ts: Option<String>,
}

impl EventLog {
    /// Reads the time by which ages are counted: that of the log's clock or of this machine's,
    /// whichever is earlier. So a clock that is ahead, here or there, makes nothing older than it is,
    /// and a store without new events ages too.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the log's clock has never been read and cannot be read now: retry, and
    /// remove nothing meanwhile.
    pub async fn now(&self) -> Result<Timestamp> {
        let reading = match self.clock().reading() {
            (Some(known), false) => known,
            (known, _) => match (self.read_clock().await, known) {
                (Ok(reading), _) => reading,
                // It has gone on meanwhile as fast as this machine's monotonic clock.
                (Err(_), Some(known)) => known,
                (Err(error), None) => return Err(error),
            },
        };
        let log = reading.time.plus(reading.at.elapsed());
        Ok(log.min(Timestamp::now()))
    }

    async fn read_clock(&self) -> Result<ClockReading> {
        let subject = format!("STREAM.INFO.KV_{}", bucket::META_BUCKET);
        // Before the request: the time is then at most the log's when the answer comes.
        let at = Instant::now();
        let answer: StreamTime = (self.jetstream().request(subject, &()).await)
            .map_err(|error| Error::unavailable("read its clock", error))?;
        let time = answer.ts.as_deref().map(str::parse);
        let Some(Ok(time)) = time else {
            return Err(Error::unavailable("read its clock", "it says no time"));
        };
        let reading = ClockReading {
            time,
            at,
            tried_at: at,
        };
        self.clock().set(reading);
        let here = Timestamp::now();
        let skew = here.since(time).max(time.since(here));
        if skew > MAX_CLOCK_SKEW {
            warn!(
                log = %time,
                here = %here,
                "the clocks of the log and of this machine differ, ages count by the earlier one"
            );
        }
        Ok(reading)
    }
}
