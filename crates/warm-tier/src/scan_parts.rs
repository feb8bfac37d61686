//! Divides the rows of a scan into parts, so that no batch has many large ones. Pure.

/// Most rows of one batch: as many as DuckDB gives at once, whatever they take.
const BATCH_ROWS: usize = 2048;
/// Bytes of content and metadata after which a piece ends. A batch spans two pieces at most.
const PIECE_BYTES: u64 = 2 << 20;

/// What identifies a row in the order of a scan: its sequence and index, or its row id and 0.
pub(crate) type Key = (i64, i64);

/// Rows that one statement reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) first: Key,
    pub(crate) last: Key,
}

/// The rows of a scan so far, with the lengths of their content and metadata.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) parts: Vec<Part>,
    /// Rows of all parts.
    pub(crate) rows: u64,
    bytes_left: u64,
    piece_rows: usize,
    piece_bytes: u64,
}

impl Parts {
    /// No rows yet, and at most so many that they reach `max_bytes`.
    pub(crate) fn new(max_bytes: Option<u64>) -> Self {
        Self {
            parts: Vec::new(),
            rows: 0,
            bytes_left: max_bytes.unwrap_or(u64::MAX),
            piece_rows: 0,
            piece_bytes: 0,
        }
    }

    /// Adds the next row; `false` when the bytes of the scan end with it.
    ///
    /// A statement goes on behind a piece that has the rows of a batch: none of its batches spans three pieces.
    pub(crate) fn add(&mut self, key: Key, bytes: u64) -> bool {
        let mut begins = self.parts.is_empty();
        if self.piece_bytes >= PIECE_BYTES {
            begins = self.piece_rows < BATCH_ROWS;
            (self.piece_rows, self.piece_bytes) = (0, 0);
        }
        match self.parts.last_mut().filter(|_| !begins) {
            Some(part) => part.last = key,
            None => self.parts.push(Part {
                first: key,
                last: key,
            }),
        }
        self.piece_rows += 1;
        self.piece_bytes = self.piece_bytes.saturating_add(bytes);
        self.rows += 1;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.bytes_left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest batch that a statement of one of the parts can have, in bytes.
    fn largest_batch(parts: &[Part], lengths: &[u64]) -> u64 {
        let of = |part: &Part| {
            let (first, last) = (part.first.0, part.last.0);
            let (first, last) = (usize::try_from(first), usize::try_from(last));
            let rows = &lengths[first.unwrap()..=last.unwrap()];
            let batches = rows.windows(BATCH_ROWS.min(rows.len()));
            batches
                .map(|batch| batch.iter().sum::<u64>())
                .max()
                .unwrap()
        };
        parts.iter().map(of).max().unwrap()
    }

    fn parts(lengths: &[u64]) -> Vec<Part> {
        let mut parts = Parts::new(None);
        for (key, length) in (0..).zip(lengths) {
            assert!(parts.add((key, 0), *length));
        }
        assert_eq!(parts.rows, lengths.len() as u64);
        parts.parts
    }

    #[test]
    fn no_batch_has_many_large_rows_and_small_ones_are_one_part() {
        const LARGE: u64 = 256 << 10;
        let small = vec![500; 20_000];
        assert_eq!(parts(&small).len(), 1);
        let large = vec![LARGE; 3000];
        assert_eq!(parts(&large).len(), 375);
        let mixed: Vec<u64> = (0..20_000_u64)
            .map(|row| match row % 7000 {
                0..100 => LARGE,
                _ => 300,
            })
            .collect();
        for lengths in [small, large, mixed] {
            let all = parts(&lengths);
            assert!(largest_batch(&all, &lengths) <= 2 * (PIECE_BYTES + LARGE));
            assert_eq!(all[0].first.0, 0);
            let next = all.windows(2);
            assert!(next.clone().all(|two| two[0].last.0 + 1 == two[1].first.0));
            assert_eq!(all.last().unwrap().last.0 + 1, lengths.len() as i64);
        }
    }

    #[test]
    fn a_scan_ends_with_the_row_that_reaches_its_bytes() {
        let mut parts = Parts::new(Some(1000));
        assert!(parts.add((1, 0), 400) && parts.add((2, 0), 599));
        assert!(!parts.add((3, 0), 1));
        assert_eq!(parts.rows, 3);
    }
}
