//! Closed dead letters: those that a person has dropped or replayed. Their positions are kept while the log has
//! their frames, so that a frame that is read again does not become an open letter again.

use event::{PartitionId, Position, RangeSet, Seq, SeqRange};

use crate::{error::Result, log::EventLog, names};

impl EventLog {
    /// Closes the dead letter at `position` for good: it is no longer open, nor stored again when its frame
    /// is read again. Returns false if there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable): retry.
    pub async fn close_dead_letter(&self, position: Position) -> Result<bool> {
        let Some((stream, message)) = self.stored_dead_letter(position).await? else {
            return Ok(false);
        };
        // First: a letter that is deleted and not closed would be open again some day.
        self.closed_bucket().create(&key(position), "").await?;
        self.delete_dead_letter(&stream, &message).await
    }

    /// Returns the sequences of the closed dead letters of `partition` whose frames the log may have.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable): retry.
    pub async fn closed_dead_letters(&self, partition: PartitionId) -> Result<RangeSet> {
        let seqs = self.closed_seqs(partition).await?.into_iter();
        Ok(seqs.map(|seq| SeqRange { lo: seq, hi: seq }).collect())
    }

    pub(super) async fn is_closed(&self, position: Position) -> Result<bool> {
        let closed = self.closed_bucket().get(&key(position)).await?;
        Ok(closed.is_some())
    }

    /// Forgets the closed dead letters of `partition` before `first`, whose frames the log no longer has.
    pub(crate) async fn forget_closed(&self, partition: PartitionId, first: Seq) -> Result<()> {
        for seq in self.closed_seqs(partition).await? {
            if seq < first {
                let key = key(Position::new(partition, seq, 0));
                self.closed_bucket().remove(&key).await?;
            }
        }
        Ok(())
    }

    async fn closed_seqs(&self, partition: PartitionId) -> Result<Vec<Seq>> {
        let keys = self.closed_bucket().keys().await?;
        let positions = keys.iter().filter_map(|key| parse_key(key));
        let of_partition = positions.filter(|position| position.partition == partition);
        Ok(of_partition.map(|position| position.seq).collect())
    }
}

/// `g1p07e1.42`
fn key(position: Position) -> String {
    format!("{}.{}", position.partition, position.seq)
}

fn parse_key(key: &str) -> Option<Position> {
    let (partition, seq) = key.split_once('.')?;
    let partition = names::parse_partition(partition)?;
    Some(Position::new(partition, seq.parse().ok()?, 0))
}

#[cfg(test)]
mod tests {
    use event::{PartitionId, Position};

    use super::{key, parse_key};

    #[test]
    fn a_key_is_the_position_of_its_letter() {
        let position = Position::new(PartitionId::first(7), 42, 0);
        assert_eq!(key(position), "g1p07e1.42");
        assert_eq!(parse_key("g1p07e1.42"), Some(position));
        for text in ["", "g1p07e1", "g1p07e1.", "x.42"] {
            assert_eq!(parse_key(text), None, "{text}");
        }
    }
}
