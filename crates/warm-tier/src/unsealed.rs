//! What one partition has read from the log and not sealed, shared by its writer and its readers.

use std::{
    mem,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use event::{PartitionId, Seq, SeqRange, Timestamp};

use crate::{
    duplicates::Duplicate,
    error::Result,
    frames::Frames,
    log_end::LogAnchor,
    open_part::OpenPart,
    open_scan::{OpenContent, OpenRows},
    rollup_batch,
    scan_request::{Scan, Table},
};

/// The size of what is not sealed.
#[derive(Clone, Copy, Debug)]
pub struct OpenState {
    /// Events of the open part, and of one whose seal is not finished.
    pub events: u64,
    /// Least `received_at`.
    pub oldest: Option<Timestamp>,
    /// Bytes of memory of the open part, and of one whose seal is not finished.
    pub open_bytes: u64,
    pub sealing_bytes: u64,
    /// `true` while the open part covers no sequence. Frames without events cover their range too.
    pub is_empty: bool,
}

/// The open part, and the part before it until its seal is finished.
#[derive(Debug)]
pub(crate) struct Unsealed(Mutex<Parts>);

#[derive(Debug)]
struct Parts {
    open: OpenPart,
    sealing: Option<Arc<OpenPart>>,
}

impl Unsealed {
    /// An empty part that starts at `lo`.
    pub(crate) fn new(partition: PartitionId, lo: Seq) -> Self {
        Self(Mutex::new(Parts {
            open: OpenPart::new(partition, lo),
            sealing: None,
        }))
    }

    /// Appends frames that continue the open part: `frames.events` without the duplicates `dropped`.
    pub(crate) fn append(&self, frames: Frames, dropped: &[Duplicate]) {
        self.lock().open.append(frames, dropped);
    }

    /// The sequence that the next frames must start with.
    pub(crate) fn next(&self) -> Seq {
        self.lock().open.next()
    }

    /// The last event of the open part.
    pub(crate) fn last_event(&self) -> Option<LogAnchor> {
        self.lock().open.last_event()
    }

    pub(crate) fn state(&self) -> OpenState {
        let parts = self.lock();
        let open = parts.open.totals();
        let sealing = parts.sealing.as_ref().map(|part| part.totals());
        OpenState {
            events: open.events + sealing.map_or(0, |part| part.events),
            oldest: (sealing.and_then(|part| part.received_min).into_iter())
                .chain(open.received_min)
                .min(),
            open_bytes: parts.open.memory_bytes(),
            sealing_bytes: (parts.sealing.as_ref()).map_or(0, |part| part.memory_bytes()),
            is_empty: parts.open.range().is_none(),
        }
    }

    /// The duplicates after `after` in the parts behind `sealed`, ascending by position.
    pub(crate) fn dropped_after(&self, sealed: Seq, after: Seq) -> Vec<Duplicate> {
        let parts = self.lock();
        let all = parts.sealing.as_deref().into_iter().chain([&parts.open]);
        let unsealed = all.filter(|part| part.next() > sealed + 1);
        let dropped = unsealed.flat_map(|part| part.dropped());
        dropped.filter(|own| own.seq > after).cloned().collect()
    }

    /// Ends the open part and begins the next. `None` when a seal is not finished, or there is nothing to seal.
    pub(crate) fn end_part(&self) -> Option<Arc<OpenPart>> {
        let mut parts = self.lock();
        if parts.sealing.is_some() {
            return None;
        }
        parts.open.range()?;
        let next = OpenPart::new(parts.open.partition(), parts.open.next());
        let ended = mem::replace(&mut parts.open, next).freeze();
        parts.sealing = Some(Arc::new(ended));
        parts.sealing.clone()
    }

    /// The part whose seal is not finished.
    pub(crate) fn sealing(&self) -> Option<Arc<OpenPart>> {
        self.lock().sealing.clone()
    }

    /// Forgets the part whose seal is finished: readers find it in the slices that the manifest names.
    pub(crate) fn finish_seal(&self) -> Option<Arc<OpenPart>> {
        self.lock().sealing.take()
    }

    /// Starts at `first` instead; the open part must be empty.
    pub(crate) fn skip_to(&self, first: Seq) {
        let mut parts = self.lock();
        parts.open = OpenPart::new(parts.open.partition(), first);
    }

    /// What a scan may need, by part, ascending: its events, or its rollup when all of it is requested. With
    /// the data folder `files`, the runs of a part are apart from its other events.
    pub(crate) fn rows(&self, scan: &Scan, files: Option<&Path>) -> Result<Vec<OpenRows>> {
        let mut parts = self.lock();
        let mut rows = Vec::new();
        let runs = |part: &OpenPart| files.map_or_else(Default::default, |data| part.runs(data));
        if let Some(part) = parts.sealing.clone()
            && let Some(range) = part.range()
        {
            let runs = runs(&part);
            let content = content(scan, range, &part, || part.batches().to_vec())?;
            rows.push(OpenRows::new(range, content, runs));
        }
        if let Some(range) = parts.open.range() {
            let batches = parts.open.all_batches();
            let runs = runs(&parts.open);
            let content = content(scan, range, &parts.open, || batches)?;
            rows.push(OpenRows::new(range, content, runs));
        }
        Ok(rows)
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().expect("nothing panics while it holds this")
    }
}

fn content(
    scan: &Scan,
    range: SeqRange,
    part: &OpenPart,
    events: impl FnOnce() -> Vec<arrow::array::RecordBatch>,
) -> Result<OpenContent> {
    let is_whole = |requested: &SeqRange| requested.intersect(&range) == Some(range);
    if scan.table == Table::Events || !scan.ranges.iter().any(is_whole) {
        return Ok(OpenContent::Events(events()));
    }
    let rollup = rollup_batch::of(part.rollups(), scan, range)?;
    Ok(OpenContent::Rollup(rollup))
}
