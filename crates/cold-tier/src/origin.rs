//! The rows that a file was made of, as a number and a checksum: with them a reader of the log entries alone
//! can tell that all of some events went into the cold tier, also where rules have removed some since. Pure.

use arrow::{array::AsArray as _, datatypes::Int64Type, record_batch::RecordBatch};

/// The rows that a file of `events` was made of, those included that rules have removed since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Number of rows.
    pub rows: u64,
    /// The sum of their crc32c, modulo 2^64.
    pub sum_crc: u64,
}

impl Origin {
    /// Returns the rows of `batch`; `None` when they have no checksums, as those of rollups.
    pub(crate) fn of(batch: &RecordBatch) -> Option<Self> {
        let checksums = batch.column_by_name("crc32c")?;
        let checksums = checksums.as_primitive_opt::<Int64Type>()?.iter().flatten();
        let sum_crc = checksums.fold(0, |sum: u64, crc| sum.wrapping_add(crc.cast_unsigned()));
        Some(Self {
            rows: batch.num_rows() as u64,
            sum_crc,
        })
    }

    /// Returns the rows of all `origins`; `None` when one of them is not known.
    #[must_use]
    pub fn total(origins: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        let mut origins = origins.into_iter();
        origins.try_fold(Self::default(), |total, own| Some(total.plus(own?)))
    }

    /// Returns the rows of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(other.rows),
            sum_crc: self.sum_crc.wrapping_add(other.sum_crc),
        }
    }

    /// The value of the tag: `rows:sum_crc`, both decimal.
    pub(crate) fn tag(self) -> String {
        format!("{}:{}", self.rows, self.sum_crc)
    }

    /// Returns the origin in the value of the tag; `None` when it is none.
    pub(crate) fn from_tag(text: &str) -> Option<Self> {
        let (rows, sum_crc) = text.split_once(':')?;
        Some(Self {
            rows: rows.parse().ok()?,
            sum_crc: sum_crc.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Origin;

    #[test]
    fn an_origin_survives_its_tag() {
        let origin = Origin {
            rows: 3,
            sum_crc: u64::MAX,
        };
        assert_eq!(Origin::from_tag(&origin.tag()), Some(origin));
        for text in ["", "3", "3:", ":3", "-1:3"] {
            assert_eq!(Origin::from_tag(text), None, "{text}");
        }
    }
}
