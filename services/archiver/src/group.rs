//! Groups the rows of a scan by file: one tenant and one day each.

use std::collections::BTreeMap;

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
};
use cold_tier::{Day, DayOf};
use event::{TenantId, Timestamp};

/// A tenant and a day of its rows.
pub(crate) type TenantDay = (TenantId, Day);

/// The rows of one tenant and day.
#[derive(Clone, Debug)]
pub(crate) struct DayRows {
    pub(crate) rows: RecordBatch,
    /// The latest `received_at` of the rows.
    pub(crate) received_max: Timestamp,
}

/// Collects batches of events by tenant and day.
#[derive(Debug)]
pub(crate) struct RowsByDay {
    day_of: DayOf,
    days: BTreeMap<TenantDay, Vec<DayRows>>,
    pub(crate) row_count: u64,
    /// Bytes of the rows.
    pub(crate) memory_bytes: u64,
}

impl RowsByDay {
    pub(crate) fn new(day_of: DayOf) -> Self {
        Self {
            day_of,
            days: BTreeMap::new(),
            row_count: 0,
            memory_bytes: 0,
        }
    }

    /// Adds a batch of the events schema after checking every row of it.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> segment::Result<()> {
        let batch = segment::conform(batch, &segment::events_schema())?;
        let events = segment::decode(&batch)?;
        self.memory_bytes += segment::memory_bytes(&batch);
        self.row_count += events.len() as u64;
        let mut indices_by_day: BTreeMap<TenantDay, Vec<u32>> = BTreeMap::new();
        for (row, stored) in (0..).zip(&events) {
            let day = (stored.event.tenant.clone(), self.day_of.day(stored));
            indices_by_day.entry(day).or_default().push(row);
        }
        for (day, indices) in indices_by_day {
            let received = indices.iter().map(|row| events[*row as usize].received_at);
            let received_max = received.max().expect("a day has a row");
            let rows = take_record_batch(&batch, &UInt32Array::from(indices))?;
            let parts = self.days.entry(day).or_default();
            parts.push(DayRows { rows, received_max });
        }
        Ok(())
    }

    /// Returns one batch per tenant and day, ordered by both.
    pub(crate) fn finish(self) -> segment::Result<Vec<(TenantDay, DayRows)>> {
        let days = self.days.into_iter().map(|(day, parts)| {
            let received = parts.iter().map(|part| part.received_max);
            let received_max = received.max().expect("a day has a part");
            let batches = parts.iter().map(|part| &part.rows);
            let rows = concat_batches(&segment::events_schema(), batches)?;
            Ok((day, DayRows { rows, received_max }))
        });
        days.collect()
    }
}
