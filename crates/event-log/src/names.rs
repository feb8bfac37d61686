//! The names of streams and subjects.

use event::{PartitionId, Position};

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

/// Whether a stream of this name is that of a partition.
pub(crate) fn is_stream(name: &str) -> bool {
    name.starts_with("EV_g")
}

/// The subject of a partition's stream: `ev.g1.p07.e1`.
pub(crate) fn subject(partition: PartitionId) -> String {
    format!("ev{}", partition_part(partition))
}

/// The part of a subject that names a partition: `.g1.p07.e1`.
fn partition_part(partition: PartitionId) -> String {
    let PartitionId {
        generation,
        partition,
        epoch,
    } = partition;
    format!(".g{generation}.p{partition:02}.e{epoch}")
}

/// The subjects of all dead letters.
pub(crate) const DEAD_LETTERS: &str = "dlq.>";

/// The subject of one dead letter: `dlq.g1.p07.e1.42`.
pub(crate) fn dead_letter_subject(position: Position) -> String {
    format!("dlq{}.{}", partition_part(position.partition), position.seq)
}

/// The subjects of the dead letters of a partition: `dlq.g1.p07.e1.*`.
pub(crate) fn dead_letter_filter(partition: PartitionId) -> String {
    format!("dlq{}.*", partition_part(partition))
}

/// Parses what [`dead_letter_subject`] made; `None` when it is something else.
pub(crate) fn parse_dead_letter_subject(subject: &str) -> Option<Position> {
    let (partition, seq) = subject.strip_prefix("dlq.")?.rsplit_once('.')?;
    let partition = parse_partition(&partition.replace('.', ""))?;
    Some(Position::new(partition, seq.parse().ok()?, 0))
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
    use super::{dead_letter_subject, parse_dead_letter_subject, parse_partition, stream, subject};
    use event::{PartitionId, Position};

    #[test]
    fn names_are_as_the_formats_say() {
        let partition = PartitionId::first(7);
        assert_eq!(stream(partition), "EV_g1_p07_e1");
        assert_eq!(subject(partition), "ev.g1.p07.e1");
        assert_eq!(parse_partition("g1p07e1"), Some(partition));
        let position = Position::new(partition, 42, 0);
        assert_eq!(dead_letter_subject(position), "dlq.g1.p07.e1.42");
        assert_eq!(
            parse_dead_letter_subject("dlq.g1.p07.e1.42"),
            Some(position)
        );
        assert_eq!(parse_dead_letter_subject("dlq.g1.p07.e1.x"), None);
        for text in ["", "g1", "g1p", "g1p07", "p07e1", "g1pxe1", "g1p99999999e1"] {
            assert_eq!(parse_partition(text), None, "{text}");
        }
    }
}
