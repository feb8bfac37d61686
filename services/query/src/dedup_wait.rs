//! Waiting for duplicates to be known. The compactor finds them: only it knows every event of the
//! last 24 hours, and it is a moment behind the log.
//!
//! The compactor publishes the duplicates that it finds to the hot tier, so normally the hot tier
//! alone answers. When the hot tier falls behind, the compactor is asked directly.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use event::{PartitionId, Position, Seq, SeqRange};
use hot_tier::HotReader;
use warm_tier::remote::Duplicates;

use crate::warm::WarmSource;

/// First pause between two reads of the hot tier's cursor; doubled up to `MAX_DEDUP_POLL`.
const DEDUP_POLL: Duration = Duration::from_millis(4);
const MAX_DEDUP_POLL: Duration = Duration::from_millis(32);
/// The hot tier has the duplicates some milliseconds after the compactor; when it makes no progress
/// for longer, the compactor itself is asked.
const HOT_STALL_LIMIT: Duration = Duration::from_millis(30);
/// Longest time without an answer or progress: the compactor commits several times a second,
/// unless it is down.
const NO_ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// Longest time without progress of a compactor that answers: it is overloaded.
const NO_PROGRESS_LIMIT: Duration = Duration::from_secs(3);
/// Longest wait for a compactor that makes progress but is far behind the log.
const MAX_DEDUP_WAIT: Duration = Duration::from_secs(10);
/// After a wait that timed out, requests for the same partition check once and do not wait.
const TIMED_OUT_WAIT_COOLDOWN: Duration = Duration::from_secs(2);

/// The partitions where a wait timed out lately, and when.
#[derive(Debug, Default)]
pub(crate) struct DedupWaits(Mutex<HashMap<PartitionId, Instant>>);

impl DedupWaits {
    /// Waits until all duplicates up to `through` are known, as long as there is progress towards
    /// it; those up to `checked` are known already. After a time-out the state covers less.
    pub(crate) async fn wait(
        &self,
        hot: &HotReader,
        warm: &WarmSource,
        partition: PartitionId,
        checked: Seq,
        through: Seq,
    ) -> DedupState {
        let mut wait = Wait::new(self.is_cooling_down(partition));
        let mut dedup = DedupState::default();
        let mut pause = DEDUP_POLL;
        loop {
            let cursor = hot.cursor(partition).await.ok().flatten();
            dedup.hot_checked = cursor.map_or(0, |cursor| cursor.last.min(cursor.checked));
            let hot_is_behind = dedup.hot_checked < through;
            if hot_is_behind && (cursor.is_none() || wait.should_ask_compactor()) {
                let answer = warm.duplicates(partition, checked).await;
                if answer.is_some() {
                    (dedup.from_compactor, wait.last_answer) = (answer, Instant::now());
                }
            }
            wait.record_progress(dedup.reached());
            let covered = dedup.covers(checked, through);
            if covered || wait.has_timed_out() {
                self.record_result(partition, covered);
                return dedup;
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(MAX_DEDUP_POLL);
        }
    }

    /// Waits until the compactor has read the log up to `through`, as long as it makes progress.
    pub(crate) async fn wait_for_commit(
        &self,
        warm: &WarmSource,
        partition: PartitionId,
        through: Seq,
    ) {
        let mut wait = Wait::new(self.is_cooling_down(partition));
        let mut pause = DEDUP_POLL;
        loop {
            // Of the duplicates behind `through` only the end of their range is needed.
            let answer = warm.duplicates(partition, through).await;
            let reached = answer.map(|duplicates| duplicates.through);
            if let Some(reached) = reached {
                wait.last_answer = Instant::now();
                wait.record_progress(reached);
            }
            let is_there = reached.is_some_and(|reached| reached >= through);
            if is_there || wait.has_timed_out() {
                self.record_result(partition, is_there);
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(MAX_DEDUP_POLL);
        }
    }

    fn is_cooling_down(&self, partition: PartitionId) -> bool {
        let mut timed_out = self.lock();
        timed_out.retain(|_, at| at.elapsed() < TIMED_OUT_WAIT_COOLDOWN);
        timed_out.contains_key(&partition)
    }

    fn record_result(&self, partition: PartitionId, covered: bool) {
        let mut timed_out = self.lock();
        if covered {
            timed_out.remove(&partition);
        } else {
            timed_out.entry(partition).or_insert_with(Instant::now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PartitionId, Instant>> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}

/// The known duplicates of one partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct DedupState {
    /// The hot tier returns no duplicate up to here.
    pub(crate) hot_checked: Seq,
    /// The compactor's own answer, if it was asked.
    pub(crate) from_compactor: Option<Duplicates>,
}

impl DedupState {
    /// Returns the range of the log whose duplicates are known: only the compactor lists them.
    pub(crate) fn log_range(&self) -> Option<SeqRange> {
        self.from_compactor.as_ref().and_then(Duplicates::range)
    }

    /// Whether all duplicates up to `through` are known, given that those up to `checked` are.
    pub(crate) fn covers(&self, checked: Seq, through: Seq) -> bool {
        self.checked_through(self.hot_checked.max(checked)) >= through
    }

    /// Whether the compactor reported the event at `position` as a duplicate.
    pub(crate) fn is_duplicate(&self, position: &Position) -> bool {
        let from_compactor = self.from_compactor.as_ref();
        from_compactor.is_some_and(|duplicates| duplicates.contains(position.offset()))
    }

    /// Returns the sequence up to which all duplicates are known, given that those up to `checked`
    /// are: the compactor's answer counts only if it begins there or before.
    pub(crate) fn checked_through(&self, checked: Seq) -> Seq {
        match &self.from_compactor {
            Some(duplicates) if duplicates.after <= checked => checked.max(duplicates.through),
            _ => checked,
        }
    }

    /// The highest sequence that either has reached: the measure of progress.
    fn reached(&self) -> Seq {
        let from_compactor = self.from_compactor.as_ref();
        let through = from_compactor.map_or(0, |duplicates| duplicates.through);
        self.hot_checked.max(through)
    }
}

/// The progress of one wait.
struct Wait {
    started: Instant,
    last_progress: Instant,
    /// When the compactor answered last.
    last_answer: Instant,
    reached: Seq,
    cooling_down: bool,
}

impl Wait {
    fn new(cooling_down: bool) -> Self {
        let now = Instant::now();
        Self {
            started: now,
            last_progress: now,
            last_answer: now,
            reached: 0,
            cooling_down,
        }
    }

    fn record_progress(&mut self, reached: Seq) {
        if reached > self.reached {
            (self.reached, self.last_progress) = (reached, Instant::now());
        }
    }

    fn should_ask_compactor(&self) -> bool {
        self.cooling_down || self.last_progress.elapsed() >= HOT_STALL_LIMIT
    }

    fn has_timed_out(&self) -> bool {
        let last_sign = self.last_answer.max(self.last_progress);
        self.cooling_down
            || last_sign.elapsed() >= NO_ANSWER_LIMIT
            || self.last_progress.elapsed() >= NO_PROGRESS_LIMIT
            || self.started.elapsed() >= MAX_DEDUP_WAIT
    }
}

#[cfg(test)]
mod tests;
