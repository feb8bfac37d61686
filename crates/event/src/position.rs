//! Positions of events in the log: the only coordinate that the tiers share.

use std::{fmt, str::FromStr};

use crate::partition::PartitionId;

/// The sequence number of a frame in its partition's log. The first frame has 1; 0 means "before the
/// first frame".
pub type Seq = u64;

/// The place of an event in the log, `(generation, partition, epoch, seq, idx)`: its partition, the
/// sequence of its frame and its index in the frame. Ordered as the log is within a partition.
///
/// The text form has a fixed width and sorts as the position does:
/// `0001-0007-0001-00000000000000000042-0003`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub partition: PartitionId,
    pub seq: Seq,
    pub idx: u16,
}

impl Position {
    /// Makes the position of event `idx` of frame `seq` of `partition`.
    #[must_use]
    pub const fn new(partition: PartitionId, seq: Seq, idx: u16) -> Self {
        Self {
            partition,
            seq,
            idx,
        }
    }

    /// The position within its partition, `(seq, idx)`.
    #[must_use]
    pub const fn offset(&self) -> (Seq, u16) {
        (self.seq, self.idx)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PartitionId {
            generation,
            partition,
            epoch,
        } = self.partition;
        let Self { seq, idx, .. } = self;
        write!(
            f,
            "{generation:04}-{partition:04}-{epoch:04}-{seq:020}-{idx:04}"
        )
    }
}

/// The error for a text that is not a position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a position: a position looks like 0001-0007-0001-00000000000000000042-0003 and comes from an earlier answer"
)]
pub struct ParsePositionError;

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let mut parts = text.split('-');
        let mut next = |width: usize| {
            let part = parts.next().filter(|part| part.len() == width);
            part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or(ParsePositionError)
        };
        let small = |part: &str| part.parse::<u16>().map_err(|_| ParsePositionError);
        let partition = PartitionId {
            generation: small(next(4)?)?,
            partition: small(next(4)?)?,
            epoch: small(next(4)?)?,
        };
        let seq = next(20)?.parse().map_err(|_| ParsePositionError)?;
        let idx = small(next(4)?)?;
        if parts.next().is_some() {
            return Err(ParsePositionError);
        }
        Ok(Self {
            partition,
            seq,
            idx,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Position;
    use crate::partition::PartitionId;

    fn any_position() -> impl Strategy<Value = Position> {
        (
            1..9999_u16,
            0..1024_u16,
            1..9999_u16,
            any::<u64>(),
            0..9999_u16,
        )
            .prop_map(|(generation, partition, epoch, seq, idx)| {
                let partition = PartitionId {
                    generation,
                    partition,
                    epoch,
                };
                Position::new(partition, seq, idx)
            })
    }

    proptest! {
        #[test]
        fn a_position_round_trips_through_its_text(position in any_position()) {
            prop_assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        }

        #[test]
        fn texts_sort_as_positions_do(a in any_position(), b in any_position()) {
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = text.parse::<Position>();
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "1",
            "0001-0007-0001-42-0003",
            "0001-0007-0001-00000000000000000042-0003-1",
            "+001-0007-0001-00000000000000000042-0003",
        ] {
            text.parse::<Position>().unwrap_err();
        }
    }
}
