//! The names of streams and subjects.

use event::PartitionId;

/// The name of a partition's stream: `EV_g1_p07_e1`.
#[must_use]
pub fn stream(partition: PartitionId) -> String {
    let PartitionId {
        generation,
        partition,
        epoch,
    } = partition;
    format!("EV_g{generation}_p{partition:02}_e{epoch}")
}

/// The subject of a partition's stream: `ev.g1.p07.e1`.
pub(crate) fn subject(partition: PartitionId) -> String {
    let PartitionId {
        generation,
        partition,
        epoch,
    } = partition;
    format!("ev.g{generation}.p{partition:02}.e{epoch}")
}

/// Parses the text form of a partition, `g1p07e1`.
pub(crate) fn parse_partition(text: &str) -> Option<PartitionId> {
    let (generation, rest) = text.strip_prefix('g')?.split_once('p')?;
    let (partition, epoch) = rest.split_once('e')?;
    Some(PartitionId {
        generation: generation.parse().ok()?,
        partition: partition.parse().ok()?,
        epoch: epoch.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{parse_partition, stream, subject};
    use event::PartitionId;

    #[test]
    fn names_are_as_the_formats_say() {
        let partition = PartitionId::first(7);
        assert_eq!(stream(partition), "EV_g1_p07_e1");
        assert_eq!(subject(partition), "ev.g1.p07.e1");
        assert_eq!(parse_partition("g1p07e1"), Some(partition));
        for text in ["", "g1", "g1p", "g1p07", "p07e1", "g1pxe1", "g1p99999999e1"] {
            assert_eq!(parse_partition(text), None, "{text}");
        }
    }
}
