//! Publishes the watermarks of the cold tier, after the commits that they report.

use cold_tier::{ColdFile, ColdSnapshot};
use event::PartitionId;
use event_log::{EventLog, Watermark};

/// Publishes the watermark of `partition` as of `snapshot`.
pub(crate) async fn publish(
    log: &EventLog,
    snapshot: &ColdSnapshot,
    partition: PartitionId,
) -> event_log::Result<()> {
    let files: Vec<&ColdFile> = snapshot
        .events
        .files()
        .filter(|file| {
            let ranges = file.provenance.iter().flat_map(|p| &p.ranges);
            ranges.take(1).any(|(of, _)| *of == partition)
        })
        .collect();
    let oldest = files.iter().filter_map(|file| file.extent.received_at);
    log.publish_watermark(&Watermark::Cold {
        partition,
        committed: snapshot.events.committed(partition),
        events: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        oldest_at: oldest.map(|(oldest, _)| oldest).min(),
    })
    .await
}
