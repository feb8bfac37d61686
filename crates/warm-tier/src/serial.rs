//! Serde helpers: the JSON forms of domain types that do not depend on serde.

use event::{PartitionId, SeqRange, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
struct PartitionJson {
    generation: u16,
    partition: u16,
    epoch: u16,
}

/// `{"generation":1,"partition":7,"epoch":1}`
pub(crate) mod partition {
    use super::{Deserialize, Deserializer, PartitionId, PartitionJson, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(id: &PartitionId, to: S) -> Result<S::Ok, S::Error> {
        PartitionJson {
            generation: id.generation,
            partition: id.partition,
            epoch: id.epoch,
        }
        .serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PartitionId, D::Error> {
        let PartitionJson {
            generation,
            partition,
            epoch,
        } = PartitionJson::deserialize(from)?;
        Ok(PartitionId {
            generation,
            partition,
            epoch,
        })
    }
}

/// `[[1,10],[21,30]]`
pub(crate) mod ranges {
    use serde::de::Error as _;

    use super::{Deserialize, Deserializer, SeqRange, Serializer};

    pub(crate) fn serialize<S: Serializer>(ranges: &[SeqRange], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(ranges.iter().map(|range| (range.lo, range.hi)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<SeqRange>, D::Error> {
        let pairs = Vec::<(u64, u64)>::deserialize(from)?;
        pairs
            .into_iter()
            .map(|(lo, hi)| SeqRange::new(lo, hi).ok_or_else(|| D::Error::custom("an empty range")))
            .collect()
    }
}

/// Microseconds since the Unix epoch, or null.
pub(crate) mod time {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Timestamp};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Timestamp::as_micros).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(from)?.map(Timestamp::from_micros))
    }
}

/// A type with `Display` and `FromStr`, as a string.
pub(crate) mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::de::Error as _;

    use super::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr,
        T::Err: Display,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Like [`text`], or null.
pub(crate) mod text_option {
    use std::{fmt::Display, str::FromStr};

    use serde::{Serialize as _, de::Error as _};

    use super::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(to)
    }

    pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr,
        T::Err: Display,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}
