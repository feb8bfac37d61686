//! Rows of one scan to the rows of each file: one tenant and one day of event time.

use std::collections::BTreeMap;

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::{concat_batches, take_record_batch},
};
use event::{StoredEvent, TenantId, Timestamp};

/// A tenant and a UTC day, `2026-11-20`.
pub(crate) type Day = (TenantId, String);

/// The rows of one file and when the log took the newest.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) rows: RecordBatch,
    pub(crate) received_max: Timestamp,
}

/// Collects batches by day.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    days: BTreeMap<Day, Vec<Group>>,
    pub(crate) rows: u64,
}

impl Groups {
    /// Takes a batch of the events schema after checking every row of it.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> segment::Result<()> {
        let batch = segment::conform(batch, &segment::events_schema())?;
        let events = segment::decode(&batch)?;
        self.rows += events.len() as u64;
        let mut of_day: BTreeMap<Day, Vec<u32>> = BTreeMap::new();
        for (row, stored) in (0..).zip(&events) {
            of_day.entry(day(stored)).or_default().push(row);
        }
        for (day, rows) in of_day {
            let received = rows.iter().map(|row| events[*row as usize].received_at);
            let received_max = received.max().expect("a day has a row");
            let rows = take_record_batch(&batch, &UInt32Array::from(rows))?;
            let groups = self.days.entry(day).or_default();
            groups.push(Group { rows, received_max });
        }
        Ok(())
    }

    /// One group per day, by tenant and day.
    pub(crate) fn finish(self) -> segment::Result<Vec<(Day, Group)>> {
        let days = self.days.into_iter().map(|(day, groups)| {
            let received = groups.iter().map(|group| group.received_max);
            let received_max = received.max().expect("a day has a group");
            let batches = groups.iter().map(|group| &group.rows);
            let rows = concat_batches(&segment::events_schema(), batches)?;
            Ok((day, Group { rows, received_max }))
        });
        days.collect()
    }
}

fn day(stored: &StoredEvent) -> Day {
    (stored.event.tenant.clone(), stored.event.timestamp.date())
}
