//! Which tier answers which part: wanted positions and what each tier has → disjoint pieces and
//! the gaps that nobody has. Pure.

use event::{RangeSet, Seq, SeqRange};

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    Hot,
    /// The event log itself: what no tier has yet, or has lost.
    Log,
    Warm,
    /// Ranges of which warm misses some classes: the rows of both, one per position.
    WarmAndCold,
    Cold,
}

/// What is known of one partition when a read begins. `None` is a tier that does not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Everything of `floor..=last` is there.
    pub(crate) hot: Option<SeqRange>,
    /// What the log still has.
    pub(crate) log: Option<SeqRange>,
    pub(crate) warm: Option<Warm>,
    /// Everything up to here is in the cold tier.
    pub(crate) cold: Option<Seq>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Warm {
    /// `None` when nothing is sealed.
    pub(crate) sealed: Option<SeqRange>,
    /// Parts of `sealed` of which some class was dropped, because the cold tier has it, or lost.
    pub(crate) gone: RangeSet,
}

/// Which source is asked first where several have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// For one conversation: memory first.
    Hot,
    /// For all of a partition: columns first.
    Columns,
}

/// Disjoint pieces, and what is left of the wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) gaps: RangeSet,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) source: Source,
    pub(crate) ranges: RangeSet,
}

impl Plan {
    pub(crate) fn of(&self, source: Source) -> RangeSet {
        let piece = self.pieces.iter().find(|piece| piece.source == source);
        piece.map(|piece| piece.ranges.clone()).unwrap_or_default()
    }
}

impl Known {
    /// What `source` can answer.
    fn offer(&self, source: Source) -> RangeSet {
        let cold = || self.cold.and_then(|hi| SeqRange::new(1, hi));
        let warm = || {
            let warm = self.warm.as_ref()?;
            Some((RangeSet::from(warm.sealed?), &warm.gone))
        };
        match source {
            Source::Hot => self.hot.map(RangeSet::from),
            Source::Log => self.log.map(RangeSet::from),
            Source::Warm => warm().map(|(sealed, gone)| sealed.subtract(gone)),
            Source::WarmAndCold => warm().and_then(|(sealed, gone)| {
                let incomplete = sealed.subtract(&sealed.subtract(gone));
                Some(incomplete.intersect(cold()?))
            }),
            Source::Cold => cold().map(RangeSet::from),
        }
        .unwrap_or_default()
    }
}

impl Source {
    /// The name in headers and metrics.
    pub(crate) fn tier(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Log => "log",
            Self::Warm => "warm",
            Self::WarmAndCold | Self::Cold => "cold",
        }
    }

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

/// Every wanted sequence that any source has is in exactly one piece; the others are gaps.
pub(crate) fn plan(wanted: SeqRange, known: &Known, prefer: Prefer) -> Plan {
    let mut left = RangeSet::from(wanted);
    let mut pieces = Vec::new();
    for source in Source::order(prefer) {
        let offer = known.offer(source);
        let rest = left.subtract(&offer);
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
