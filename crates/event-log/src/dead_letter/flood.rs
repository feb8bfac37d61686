//! When dead letters are too many to pass over: then something is wrong with the log or with this
//! program, and reading on would empty the log into dead letters. Pure.

use event::{RangeSet, Seq, SeqRange};

/// So many dead letters in a row are passed over, and no more.
const MAX_IN_A_ROW: u64 = 10;
/// Of at least so many frames,
const MIN_FRAMES: u64 = 1_000;
/// at most one in so many may be a dead letter.
const FRAMES_PER_DEAD_LETTER: u64 = 100;

/// There are too many dead letters: stop before the frame, and tell a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flood {
    #[error("more than {MAX_IN_A_ROW} frames in a row cannot be read")]
    InARow,
    #[error("{dead} of the last {frames} frames cannot be read")]
    Share { dead: u64, frames: u64 },
}

/// Counts the frames and the dead letters of one partition.
#[derive(Clone, Debug, Default)]
pub struct FloodGuard {
    /// `true` if any number of dead letters is accepted.
    accept_all: bool,
    last: Seq,
    in_a_row: u64,
    frames: u64,
    dead: u64,
    /// Dead letters that do not count.
    closed: RangeSet,
}

impl FloodGuard {
    /// A guard that has counted nothing; with `accept_all` it admits every frame.
    #[must_use]
    pub fn new(accept_all: bool) -> Self {
        Self {
            accept_all,
            ..Self::default()
        }
    }

    /// A guard as it was behind the frame before `next`, when `open` are the dead letters that are still
    /// open: a restart forgets no flood. Those that are `closed` do not count, nor when they are read again.
    #[must_use]
    pub fn resumed(accept_all: bool, next: Seq, open: &RangeSet, closed: RangeSet) -> Self {
        let last = next.saturating_sub(1);
        let frames = last.min(MIN_FRAMES);
        let counted = SeqRange::new(last + 1 - frames, last);
        let dead = counted.map(|counted| open.intersect(counted));
        let dead = dead.unwrap_or_default();
        let run = open.ranges().iter().find(|run| run.contains(last));
        Self {
            accept_all,
            last,
            in_a_row: run.map_or(0, |run| last + 1 - run.lo),
            frames,
            dead: dead.ranges().iter().map(|run| run.hi + 1 - run.lo).sum(),
            closed,
        }
    }

    /// Admits the frame `seq`; returns false if it was admitted before, since frames are read again
    /// after a failure. What is refused is not counted, so it is refused until the guard is replaced.
    ///
    /// # Errors
    /// [`Flood`] if it would be one dead letter too many: stop before it.
    pub fn admit(&mut self, seq: Seq, is_dead: bool) -> Result<bool, Flood> {
        if seq <= self.last {
            return Ok(false);
        }
        let is_dead = is_dead && !self.closed.contains(seq);
        let in_a_row = if is_dead { self.in_a_row + 1 } else { 0 };
        let (frames, dead) = (self.frames + 1, self.dead + u64::from(is_dead));
        if is_dead && !self.accept_all {
            if in_a_row > MAX_IN_A_ROW {
                return Err(Flood::InARow);
            }
            if frames >= MIN_FRAMES && dead * FRAMES_PER_DEAD_LETTER > frames {
                return Err(Flood::Share { dead, frames });
            }
        }
        (self.last, self.in_a_row) = (seq, in_a_row);
        (self.frames, self.dead) = (frames, dead);
        if self.frames >= 2 * MIN_FRAMES {
            // Old frames count less, so that a flood after a long good time is noticed.
            (self.frames, self.dead) = (self.frames / 2, self.dead / 2);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use event::{RangeSet, SeqRange};

    use super::{Flood, FloodGuard};

    #[test]
    fn ten_dead_letters_in_a_row_pass_and_the_eleventh_stops_again_and_again() {
        let mut guard = FloodGuard::default();
        for seq in 1..=10 {
            assert_eq!(guard.admit(seq, true), Ok(true));
        }
        assert_eq!(guard.admit(10, true), Ok(false), "it was counted");
        assert_eq!(guard.admit(11, true), Err(Flood::InARow));
        assert_eq!(guard.admit(11, true), Err(Flood::InARow));
        assert_eq!(FloodGuard::new(true).admit(11, true), Ok(true));
    }

    #[test]
    fn a_restart_forgets_no_flood_but_what_a_person_has_dropped() {
        let (open, none) = (|lo, hi| RangeSet::from(SeqRange { lo, hi }), RangeSet::new);
        let mut guard = FloodGuard::resumed(false, 11, &open(1, 10), none());
        assert_eq!(guard.admit(10, true), Ok(false), "it was counted");
        assert_eq!(guard.admit(11, true), Err(Flood::InARow));
        assert_eq!(guard.admit(11, false), Ok(true));
        let mut dropped = FloodGuard::resumed(false, 11, &open(1, 9), none());
        assert_eq!(dropped.admit(11, true), Ok(true));
        let mut share = FloodGuard::resumed(false, 5_001, &open(4_500, 4_520), none());
        let stopped = Err(Flood::Share {
            dead: 22,
            frames: 1_001,
        });
        assert_eq!(share.admit(5_001, true), stopped);
        let mut first = FloodGuard::resumed(false, 1, &none(), none());
        assert_eq!(first.admit(1, true), Ok(true));
        // The log is read again.
        let mut again = FloodGuard::resumed(false, 1, &none(), open(1, 11));
        for seq in 1..=21 {
            assert_eq!(again.admit(seq, true), Ok(true), "{seq}");
        }
        assert_eq!(again.admit(22, true), Err(Flood::InARow));
    }

    #[test]
    fn one_dead_letter_in_a_hundred_passes_and_more_of_a_thousand_frames_do_not() {
        let mut guard = FloodGuard::default();
        for seq in 1..100_000 {
            assert_eq!(guard.admit(seq, seq % 100 == 0), Ok(true), "{seq}");
        }
        let mut guard = FloodGuard::default();
        let stopped = (1..100_000).find(|seq| guard.admit(*seq, seq % 50 == 0).is_err());
        assert_eq!(stopped, Some(1_000));
    }
}
