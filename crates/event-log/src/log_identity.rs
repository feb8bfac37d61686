//! The log identity while a process runs: a log that no longer has the last message that was seen of it is
//! an older copy, or another log, which would assign known sequences to new messages.
//!
//! It is compared at every new connection. Until the log has the message again, the partition is
//! latched: nothing is appended, read or purged.

use event::{PartitionId, Seq};
use tokio::time::Instant;
use tracing::{error, info};

use crate::{
    error::{Error, Result},
    log::EventLog,
    seen_log::{Divergence, MessageIdentity},
};

impl EventLog {
    /// Returns the last sequence that was seen of the log of `partition`; 0 if none was.
    pub(crate) fn last_seen(&self, partition: PartitionId) -> Seq {
        let seen = self.seen_logs().of(partition);
        seen.and_then(|seen| seen.last).map_or(0, |last| last.0)
    }

    /// Records that the log had a message, on `connection` or a later one.
    pub(crate) fn record_seen(
        &self,
        partition: PartitionId,
        (seq, identity): (Seq, MessageIdentity),
        connection: u64,
    ) {
        let Some(mut seen) = self.seen_logs().of(partition) else {
            return;
        };
        if seen.last.is_none() {
            seen.connection = connection;
        }
        if seen.last.is_none_or(|(last, _)| last < seq) {
            seen.last = Some((seq, identity));
        }
    }

    /// Latches `partition`, whose log ends at `last` although `known` was seen, and returns the error.
    pub(crate) fn latch_regressed(&self, partition: PartitionId, last: Seq, known: Seq) -> Error {
        let divergence = Divergence::Regressed { last, known };
        self.set_latch(partition, Some(divergence));
        divergence.error(partition)
    }

    /// Says why `partition` is latched; `None` if it is not. Compares nothing.
    #[must_use]
    pub fn latched(&self, partition: PartitionId) -> Option<Error> {
        let (divergence, _) = self.seen_logs().of(partition)?.latched?;
        Some(divergence.error(partition))
    }

    /// Compares the log with the last message that was seen of it, if the connection is a new one or
    /// the partition is latched.
    ///
    /// # Errors
    /// [`Error::Regressed`] and [`Error::Replaced`]: the partition is latched until a person has
    /// restored its log. [`Error::Unavailable`]: retry.
    pub async fn check_identity(&self, partition: PartitionId) -> Result<()> {
        let connection = self.connection();
        let (last, latched) = {
            let Some(mut seen) = self.seen_logs().of(partition) else {
                return Ok(());
            };
            let latched = seen.latched.map(|(divergence, _)| divergence);
            if !seen.is_due(connection) {
                return latched.map_or(Ok(()), |divergence| Err(divergence.error(partition)));
            }
            let Some(last) = seen.last else {
                seen.connection = connection;
                return Ok(());
            };
            (last, latched)
        };
        let divergence = self.compare(partition, last).await?;
        if divergence.is_some() || latched.is_some() {
            self.set_latch(partition, divergence);
        }
        if let Some(mut seen) = self.seen_logs().of(partition) {
            seen.connection = connection;
        }
        divergence.map_or(Ok(()), |divergence| Err(divergence.error(partition)))
    }

    fn set_latch(&self, partition: PartitionId, divergence: Option<Divergence>) {
        let Some(mut seen) = self.seen_logs().of(partition) else {
            return;
        };
        let before = seen.latched.map(|(divergence, _)| divergence);
        seen.latched = divergence.map(|divergence| (divergence, Instant::now()));
        if before == divergence {
            return;
        }
        match divergence {
            Some(divergence) => {
                let error = divergence.error(partition);
                error!(%partition, error = &error as &dyn std::error::Error, "latched the partition");
            }
            None => info!(%partition, "the log is the known one again, released the partition"),
        }
    }

    /// Compares the log with the message that it had at `seq`.
    async fn compare(
        &self,
        partition: PartitionId,
        (seq, identity): (Seq, MessageIdentity),
    ) -> Result<Option<Divergence>> {
        let stream = self.stream(partition).await?;
        let state = &stream.cached_info().state;
        if state.last_sequence < seq {
            return Ok(Some(Divergence::Regressed {
                last: state.last_sequence,
                known: seq,
            }));
        }
        if seq < state.first_sequence {
            return Ok(None);
        }
        // It is gone if it was purged meanwhile.
        let found = self.read_alone(partition, seq).await?;
        let same = found.is_none_or(|found| MessageIdentity::of_message(&found) == identity);
        Ok((!same).then_some(Divergence::Replaced { seq }))
    }
}
