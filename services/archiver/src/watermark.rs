//! Says how far the cold tier is, after the commits.

use cold_tier::{ColdFile, ColdSnapshot};
use event::PartitionId;
use event_log::{EventLog, Watermark};

/// Publishes what `snapshot` has of `partition`.
pub(crate) async fn publish(
    log: &EventLog,
    snapshot: &ColdSnapshot,
    partition: PartitionId,
) -> event_log::Result<()> {
    let own: Vec<&ColdFile> = snapshot
        .events
        .files()
        .filter(|file| {
            let ranges = file.provenance.iter().flat_map(|own| &own.ranges);
            ranges.take(1).any(|(of, _)| *of == partition)
        })
        .collect();
    let oldest = own.iter().filter_map(|file| file.extent.received_at);
    log.publish_watermark(&Watermark::Cold {
        partition,
        committed: snapshot.events.committed(partition),
        events: own.iter().map(|file| file.rows).sum(),
        bytes: own.iter().map(|file| file.bytes).sum(),
        oldest_at: oldest.map(|(oldest, _)| oldest).min(),
    })
    .await
}
