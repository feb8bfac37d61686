//! The read plan: which source answers which part. Wanted sequences and the ranges that each source
//! has → disjoint pieces, and the gaps that no source has. Pure.

use event::{RangeSet, Seq, SeqRange};

/// A source of rows, or two that are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    Hot,
    /// The event log itself, for what no tier has yet, or has lost.
    Log,
    Warm,
    /// Both, one row per position, for ranges of which warm lacks some retention classes.
    WarmAndCold,
    Cold,
}

/// Ranges of one partition that each source has when a read begins; `None` when it does not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AvailableRanges {
    /// `floor..=last` of the hot tier.
    pub(crate) hot: Option<SeqRange>,
    /// `first..=last` of the log.
    pub(crate) log: Option<SeqRange>,
    pub(crate) warm: Option<WarmRanges>,
    /// The sequence up to which the cold tier has everything.
    pub(crate) cold: Option<Seq>,
}

/// Ranges of one partition in the warm tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WarmRanges {
    /// What it can answer, sealed or not; `None` when it has nothing.
    pub(crate) readable: Option<SeqRange>,
    /// Parts of `readable` that lack some retention class: it was dropped, because the cold tier has
    /// it, or lost.
    pub(crate) incomplete: RangeSet,
}

/// Preference among sources that have the same range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// For one conversation: the hot tier first.
    Hot,
    /// For all of a partition: the columnar tiers, warm and cold, first.
    Columns,
}

/// Disjoint pieces of the wanted range, at most one per source, and the gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) gaps: RangeSet,
}

/// The ranges to read from one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) source: Source,
    pub(crate) ranges: RangeSet,
}

impl Plan {
    /// Returns the ranges to read from `source`; empty when there are none.
    pub(crate) fn ranges_of(&self, source: Source) -> RangeSet {
        let piece = self.pieces.iter().find(|piece| piece.source == source);
        piece.map(|piece| piece.ranges.clone()).unwrap_or_default()
    }
}

impl AvailableRanges {
    /// Returns what `source` can answer.
    fn ranges_of(&self, source: Source) -> RangeSet {
        let cold = || self.cold.and_then(|hi| SeqRange::new(1, hi));
        let warm = || {
            let warm = self.warm.as_ref()?;
            Some((RangeSet::from(warm.readable?), &warm.incomplete))
        };
        match source {
            Source::Hot => self.hot.map(RangeSet::from),
            Source::Log => self.log.map(RangeSet::from),
            Source::Warm => warm().map(|(readable, incomplete)| readable.subtract(incomplete)),
            Source::WarmAndCold => warm().and_then(|(readable, incomplete)| {
                let incomplete = readable.subtract(&readable.subtract(incomplete));
                Some(incomplete.intersect(cold()?))
            }),
            Source::Cold => cold().map(RangeSet::from),
        }
        .unwrap_or_default()
    }
}

impl Source {
    /// Returns the tier's name as headers and metrics have it.
    pub(crate) fn tier(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Log => "log",
            Self::Warm => "warm",
            Self::WarmAndCold | Self::Cold => "cold",
        }
    }

    /// All sources in the order of preference.
    fn order(prefer: Prefer) -> [Self; 5] {
        match prefer {
            Prefer::Hot => [
                Self::Hot,
                Self::Warm,
                Self::WarmAndCold,
                Self::Cold,
                Self::Log,
            ],
            Prefer::Columns => [
                Self::Warm,
                Self::WarmAndCold,
                Self::Cold,
                Self::Hot,
                Self::Log,
            ],
        }
    }
}

/// Assigns every wanted sequence that any source has to exactly one piece; the others are gaps.
pub(crate) fn plan(wanted: SeqRange, available: &AvailableRanges, prefer: Prefer) -> Plan {
    let mut left = RangeSet::from(wanted);
    let mut pieces = Vec::new();
    for source in Source::order(prefer) {
        let rest = left.subtract(&available.ranges_of(source));
        let ranges = left.subtract(&rest);
        if !ranges.is_empty() {
            pieces.push(Piece { source, ranges });
        }
        left = rest;
    }
    Plan { pieces, gaps: left }
}

#[cfg(test)]
mod tests;
