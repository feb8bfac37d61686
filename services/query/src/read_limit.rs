//! The limits of a read in rows and bytes. Pure.

use event::{Seq, StoredEvent};

use crate::{memory::row_bytes, merge::ReadOrder};

/// The content that a row with so many bytes has at most: see [`row_bytes`].
const ROW_BYTES_PER_CONTENT_BYTE: usize = 3;

/// The most that a read returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadLimit {
    pub(crate) rows: usize,
    /// By [`row_bytes`]. A read ends with the row by which it has so many.
    pub(crate) bytes: usize,
}

impl ReadLimit {
    /// The limit of what is read behind `rows`.
    pub(crate) fn behind(self, rows: &[StoredEvent]) -> Self {
        let bytes: usize = rows.iter().map(row_bytes).sum();
        Self {
            rows: self.rows.saturating_sub(rows.len()),
            bytes: self.bytes.saturating_sub(bytes).max(1),
        }
    }

    /// Bytes of content and metadata by which a tier may end its read.
    pub(crate) fn content_bytes(self) -> usize {
        (self.bytes / ROW_BYTES_PER_CONTENT_BYTE).max(1)
    }
}

/// The first rows of a range, in the order of the answer.
#[derive(Debug, Default)]
pub(crate) struct FirstRows {
    pub(crate) rows: Vec<StoredEvent>,
    /// The bytes of the limit ended the read: there may be more rows behind the last one.
    pub(crate) is_cut: bool,
}

impl FirstRows {
    /// Keeps the first rows up to `limit`.
    pub(crate) fn cut(&mut self, limit: ReadLimit) {
        if self.rows.len() > limit.rows {
            self.rows.truncate(limit.rows);
            self.is_cut = false;
        }
        let mut bytes = 0;
        let last = self.rows.iter().position(|row| {
            bytes += row_bytes(row);
            bytes >= limit.bytes
        });
        if let Some(last) = last {
            self.rows.truncate(last + 1);
            self.is_cut = true;
        }
    }

    /// Drops the rows behind `end`, the end of another source: there, rows of that source may be missing.
    pub(crate) fn cut_behind(&mut self, end: Option<(Seq, u16)>, order: ReadOrder) {
        let Some(end) = end else { return };
        let count = self.rows.len();
        self.rows.retain(|row| match order {
            ReadOrder::Asc => row.position.offset() <= end,
            ReadOrder::Desc => row.position.offset() >= end,
        });
        self.is_cut |= self.rows.len() < count;
    }

    /// The offset of the last row, if there may be more behind it.
    pub(crate) fn end(&self) -> Option<(Seq, u16)> {
        let last = self.rows.last().filter(|_| self.is_cut);
        last.map(|row| row.position.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::tests::row;

    fn rows(seqs: &[Seq], content: usize) -> FirstRows {
        let rows = seqs.iter().map(|seq| {
            let mut row = row(*seq, 0, 1);
            row.event.content = "x".repeat(content);
            row
        });
        FirstRows {
            rows: rows.collect(),
            is_cut: false,
        }
    }

    fn seqs(rows: &FirstRows) -> Vec<Seq> {
        rows.rows.iter().map(|row| row.position.seq).collect()
    }

    #[test]
    fn a_read_ends_with_the_row_that_reaches_the_bytes() {
        let limit = ReadLimit {
            rows: 10,
            bytes: 50_000,
        };
        let mut some = rows(&[1, 2, 3, 4], 10_000);
        assert_eq!(limit.behind(&some.rows).bytes, 1);
        some.cut(limit);
        assert_eq!((seqs(&some), some.is_cut), (vec![1, 2], true));
        let mut one = rows(&[1], 1_000_000);
        one.cut(limit);
        assert_eq!((seqs(&one), one.is_cut), (vec![1], true));
        let mut small = rows(&[1, 2, 3], 10);
        small.cut(limit);
        assert_eq!((seqs(&small), small.is_cut), (vec![1, 2, 3], false));
        small.cut(ReadLimit { rows: 2, ..limit });
        assert_eq!((seqs(&small), small.is_cut), (vec![1, 2], false));
    }

    #[test]
    fn rows_behind_the_end_of_a_cut_source_are_left_to_the_next_read() {
        for (order, own, expected) in [
            (ReadOrder::Asc, [1, 3, 5], vec![1, 3]),
            (ReadOrder::Desc, [5, 3, 1], vec![5]),
        ] {
            let mut own = rows(&own, 1);
            let mut other = rows(&[4], 1);
            own.cut_behind(other.end(), order);
            assert_eq!(own.rows.len(), 3);
            other.is_cut = true;
            own.cut_behind(other.end(), order);
            assert_eq!((seqs(&own), own.is_cut), (expected, true));
        }
    }
}
