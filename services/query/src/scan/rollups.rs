//! Rollup rows of one partition that together count every event once.
//!
//! A rollup row of the cold tier summarizes a whole archived range, so cold's ranges are read whole
//! first. Warm answers for any range that remains.

use cold_tier::ColdScan;
use event::{RangeSet, SeqRange};
use warm_tier::{
    remote::{Filter, Scan},
    sql::Table,
};

use super::{PartitionScan, in_place};
use crate::{
    plan::{Plan, Source},
    retry::ReadError,
};

impl PartitionScan<'_> {
    /// Reads the rollup rows into the output. A range that is committed in cold and in no file there has
    /// no rows: all of its events were duplicates, or it was lost.
    pub(super) async fn read_rollups(&mut self, plan: &Plan) -> Result<(), ReadError> {
        let mut from_cold = plan.ranges_of(Source::Cold);
        for range in plan.ranges_of(Source::WarmAndCold).ranges() {
            from_cold.insert(*range);
        }
        let cold = self.archived_ranges(&from_cold);
        if !cold.is_empty() {
            let scan = ColdScan {
                partition: Some(self.partition),
                ranges: Some(cold.clone()),
                tenant: Some(self.request.tenant.clone()),
                ..ColdScan::default()
            };
            self.read_cold(self.cold_table(), scan).await?;
        }
        let warm = plan.ranges_of(Source::Warm).subtract(&cold);
        if warm.is_empty() {
            return Ok(());
        }
        let coverage = self.coverage.clone().filter(|_| self.request.in_place);
        match coverage.and_then(|coverage| in_place::whole_slices(&coverage, &warm)) {
            Some((slices, unsealed)) => {
                let scan = (!unsealed.is_empty()).then(|| self.rollup_scan(unsealed));
                self.leave(slices, scan);
            }
            None => {
                self.read_warm(self.rollup_scan(warm.ranges().to_vec()))
                    .await?;
            }
        }
        Ok(())
    }

    fn rollup_scan(&self, ranges: Vec<SeqRange>) -> Scan {
        let filter = Filter {
            tenant: Some(self.request.tenant.to_string()),
            ..Filter::default()
        };
        let scan = Scan::new(self.request.table, self.partition, ranges);
        Scan { filter, ..scan }
    }

    /// Returns the whole archived ranges that overlap `ranges`.
    fn archived_ranges(&self, ranges: &RangeSet) -> RangeSet {
        let Some(snapshot) = &self.snapshot else {
            return RangeSet::new();
        };
        let files = snapshot.table(self.cold_table()).files();
        let provenances = files.filter_map(|file| file.provenance.as_ref());
        let archived = provenances.flat_map(|provenance| &provenance.ranges);
        archived
            .filter(|(partition, range)| {
                *partition == self.partition && !ranges.intersect(*range).is_empty()
            })
            .map(|(_, range)| *range)
            .collect()
    }

    fn cold_table(&self) -> cold_tier::Table {
        match self.request.table {
            Table::ConversationSummary => cold_tier::Table::ConversationSummary,
            Table::HourlyStats | Table::Events => cold_tier::Table::HourlyStats,
        }
    }
}
