//! Waiting for the compactor's word on duplicates: it is a moment behind the log, and only it knows
//! every event of the last 24 hours.
//!
//! The hot tier is told what the compactor has found, so memory answers by itself when all is
//! well. Where it does not, the compactor is asked.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use event::{PartitionId, Position, Seq, SeqRange};
use warm_tier::remote::Duplicates;

use crate::sources::Sources;

const DEDUP_POLL: Duration = Duration::from_millis(4);
const MAX_DEDUP_POLL: Duration = Duration::from_millis(32);
/// The hot tier is told some milliseconds after the compactor knows; when it stands still for
/// longer, the compactor itself is asked.
const HOT_STALL_LIMIT: Duration = Duration::from_millis(30);
/// How long nothing may move: the compactor commits several times a second, unless it is down, or
/// overloaded while it still answers.
const NO_ANSWER_LIMIT: Duration = Duration::from_millis(500);
const NO_PROGRESS_LIMIT: Duration = Duration::from_secs(3);
/// The longest wait for one that is up but far behind the log.
const MAX_DEDUP_WAIT: Duration = Duration::from_secs(10);
/// After a wait in vain others only look for this long.
const COOLDOWN: Duration = Duration::from_secs(2);

/// Where waiting was in vain, and when.
#[derive(Debug, Default)]
pub(crate) struct DedupWaits(Mutex<HashMap<PartitionId, Instant>>);

impl DedupWaits {
    fn is_cooling_down(&self, partition: PartitionId) -> bool {
        let mut vain = self.lock();
        vain.retain(|_, at| at.elapsed() < COOLDOWN);
        vain.contains_key(&partition)
    }

    fn note(&self, partition: PartitionId, dedup: bool) {
        let mut vain = self.lock();
        if dedup {
            vain.remove(&partition);
        } else {
            vain.entry(partition).or_insert_with(Instant::now);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PartitionId, Instant>> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}

/// What is known of repeats in one partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct DedupState {
    /// The hot tier gives no repeat up to here.
    pub(crate) hot: Seq,
    /// What the compactor said itself.
    pub(crate) word: Option<Duplicates>,
}

impl DedupState {
    /// What can be read from the log with its repeats known.
    pub(crate) fn of_log(&self) -> Option<SeqRange> {
        self.word.as_ref().and_then(Duplicates::range)
    }

    /// What can be read from the hot tier with its repeats known, when `checked` is known anyway.
    pub(crate) fn of_hot(&self, checked: Seq) -> Option<SeqRange> {
        SeqRange::new(1, self.checked(self.hot.max(checked)))
    }

    /// Whether all repeats up to `seq` are known, when those up to `checked` are anyway.
    pub(crate) fn covers(&self, checked: Seq, seq: Seq) -> bool {
        self.checked(self.hot.max(checked)) >= seq
    }

    pub(crate) fn is_duplicate(&self, position: &Position) -> bool {
        let word = self.word.as_ref();
        word.is_some_and(|word| word.contains(position.offset()))
    }

    /// How far all is known behind `checked`, up to which it was known anyway.
    pub(crate) fn checked(&self, checked: Seq) -> Seq {
        match &self.word {
            Some(word) if word.after <= checked => checked.max(word.through),
            _ => checked,
        }
    }

    fn reached(&self) -> Seq {
        let word = self.word.as_ref().map_or(0, |word| word.through);
        self.hot.max(word)
    }
}

/// One wait.
struct Wait {
    began: Instant,
    moved: Instant,
    /// When the compactor answered last.
    heard: Instant,
    reached: Seq,
    cooling_down: bool,
}

impl Wait {
    fn new(cooling_down: bool) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            moved: now,
            heard: now,
            reached: 0,
            cooling_down,
        }
    }

    fn see(&mut self, reached: Seq) {
        if reached > self.reached {
            (self.reached, self.moved) = (reached, Instant::now());
        }
    }

    fn ask_compactor(&self) -> bool {
        self.cooling_down || self.moved.elapsed() >= HOT_STALL_LIMIT
    }

    fn has_timed_out(&self) -> bool {
        let silent = self.heard.max(self.moved).elapsed() >= NO_ANSWER_LIMIT;
        let stands = self.moved.elapsed() >= NO_PROGRESS_LIMIT;
        self.cooling_down || silent || stands || self.began.elapsed() >= MAX_DEDUP_WAIT
    }
}

impl Sources {
    /// Waits until all repeats up to `through` are known, as long as that comes nearer; those up to
    /// `checked` are known anyway. What is known in the end may be less.
    pub(crate) async fn wait_for_dedup(
        &self,
        partition: PartitionId,
        checked: Seq,
        through: Seq,
    ) -> DedupState {
        let mut wait = Wait::new(self.dedup_waits.is_cooling_down(partition));
        let mut dedup = DedupState::default();
        let mut pause = DEDUP_POLL;
        loop {
            let cursor = self.hot.cursor(partition).await;
            let cursor = cursor.ok().flatten();
            dedup.hot = cursor.map_or(0, |cursor| cursor.last.min(cursor.checked));
            if dedup.hot < through && (cursor.is_none() || wait.ask_compactor()) {
                let word = self.warm.duplicates(partition, checked).await;
                if word.is_some() {
                    (dedup.word, wait.heard) = (word, Instant::now());
                }
            }
            wait.see(dedup.reached());
            let covered = dedup.covers(checked, through);
            if covered || wait.has_timed_out() {
                self.dedup_waits.note(partition, covered);
                return dedup;
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(MAX_DEDUP_POLL);
        }
    }
}

#[cfg(test)]
mod tests;
